"""What a tracker is told of a record: parameters, metrics, curves by epoch and tags, as tables name them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from poisonbench import __version__
from poisonbench.leaderboard.frame import at
from poisonbench.store.record import Record

PARAMS = {
    "protocol": "protocol.name",
    "deviations": "protocol.deviations",
    "dataset": "dataset.name",
    "n_train": "dataset.n_train",
    "model": "model.name",
    "surrogate": "surrogate",
    "attack": "attack.name",
    "defense": "defense.name",
    "knowledge": "threat.knowledge",
    "mode": "threat.mode",
    "clean_label": "threat.clean_label",
    "epsilon": "threat.epsilon",
    "n_poison": "threat.n_poison",
    "norm_bound": "threat.norm_bound",
    "seed": "seeds.run",
}
"""The axes and the threat, by name, and where a record has them; the fields of attack and defense come beside them."""

METRICS = {
    "acc1": "metrics.acc1",
    "acc2": "metrics.acc2",
    "drop": "metrics.drop",
    "acc2_undefended": "metrics.acc2_undefended",
    "acc1_defended": "metrics.acc1_defended",
    "acc1_padded": "metrics.acc1_padded",
    "clean_cost": "metrics.clean_cost",
    "removed": "defense_detail.removed",
    "precision": "defense_detail.precision",
    "recall": "defense_detail.recall",
    "linf": "poison_check.linf_max",
    "pretrain_s": "timing.pretrain_s",
    "attack_s": "timing.attack_s",
    "defense_s": "timing.defense_s",
    "retrain_s": "timing.retrain_s",
    "total_s": "timing.total_s",
    "rss_peak_mb": "memory.rss_peak_mb",
    "cuda_peak_mb": "memory.cuda_peak_mb",
}
"""Accuracies in percent, differences in points, times in seconds, memory in MiB."""

TAGS = {
    "status": "status",
    "error": "error",
    "ranked": "ranked",
    "cell_hash": "cell_hash",
    "protocol_hash": "protocol.hash",
    "dataset_sha256": "dataset.sha256",
    "engine_version": "engine.version",
    "dataset_version": "dataset.version",
    "model_version": "model.version",
    "attack_version": "attack.version",
    "defense_version": "defense.version",
    "attack_code": "attack.code_hash",
    "defense_code": "defense.code_hash",
    "python": "environment.python",
    "torch": "environment.torch",
    "cpu": "environment.cpu",
    "gpu": "environment.gpu",
    "git": "environment.git",
}
"""What it was made by."""

RECORD_ID = "record_id"
"""The tag by which a run is known again."""


@dataclass(frozen=True)
class Tracked:
    """One run.

    Attributes:
        record_id: of the record.
        name: for people.
        params: by name, as text.
        metrics: by name.
        epochs: after which the curves were measured.
        curves: test accuracy then, percent, by name.
        tags: by name, as text; the record's id is none of them.
        began: when, seconds since 1970.
        ended: the same.
        good: whether the record is ok.
    """

    record_id: str
    name: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    epochs: tuple[int, ...]
    curves: Mapping[str, tuple[float, ...]]
    tags: Mapping[str, str]
    began: float
    ended: float
    good: bool


def tracked(record: Record) -> Tracked:
    """What a tracker is told; what the record does not have is left out."""
    fields = {
        f"{kind}.{name}": value
        for kind, method in (("attack", record.attack), ("defense", record.defense))
        for name, value in _flat(method.params)
    }
    curves, where = record.trajectories, f"{record.model.name} {record.protocol.name} {record.seeds.run}"
    return Tracked(
        record_id=record.record_id,
        name=f"{record.attack.name}/{record.defense.name} {where}",
        params={**_texts(record, PARAMS), **{name: _text(value) for name, value in fields.items()}},
        metrics={name: float(value) for name, value in _values(record, METRICS)},
        epochs=curves.epochs if curves else (),
        curves={"accuracy/clean": curves.clean, "accuracy/poisoned": curves.poisoned} if curves else {},
        tags={**_texts(record, TAGS), "poisonbench": __version__},
        began=datetime.fromisoformat(record.started_at).timestamp(),
        ended=datetime.fromisoformat(record.finished_at).timestamp(),
        good=record.status == "ok",
    )


def _values(record: Record, paths: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    found = ((name, at(record, path)) for name, path in paths.items())
    return ((name, value) for name, value in found if value is not None and value != "")


def _texts(record: Record, paths: Mapping[str, str]) -> dict[str, str]:
    return {name: _text(value) for name, value in _values(record, paths)}


def _flat(params: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Fields by name, those of fields with a dot; in a composed defense those of its parts."""
    for name, value in params.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
