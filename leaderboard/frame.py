"""Records as a pandas DataFrame: one row a record, every number and every condition in a column of its own type."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from poisonbench.store.canonical import canonical_json
from poisonbench.store.record import Record

if TYPE_CHECKING:
    import pandas as pd

_TEXT, _COUNT, _NUMBER, _FLAG, _TIME = "string", "Int64", "float64", "boolean", "datetime64[us, UTC]"

COLUMNS = {
    "record_id": (_TEXT, "record_id"),
    "status": (_TEXT, "status"),
    "error": (_TEXT, "error"),
    "ranked": (_FLAG, "ranked"),
    "engine_version": (_COUNT, "engine.version"),
    "protocol": (_TEXT, "protocol.name"),
    "protocol_version": (_COUNT, "protocol.version"),
    "protocol_hash": (_TEXT, "protocol.hash"),
    "deviations": (_TEXT, "protocol.deviations"),
    "dataset": (_TEXT, "dataset.name"),
    "dataset_version": (_COUNT, "dataset.version"),
    "dataset_sha256": (_TEXT, "dataset.sha256"),
    "n_train": (_COUNT, "dataset.n_train"),
    "n_val": (_COUNT, "dataset.n_val"),
    "n_test": (_COUNT, "dataset.n_test"),
    "model": (_TEXT, "model.name"),
    "model_version": (_COUNT, "model.version"),
    "n_params": (_COUNT, "model.n_params"),
    "surrogate": (_TEXT, "surrogate"),
    "surrogate_version": (_COUNT, "surrogate_version"),
    "attack": (_TEXT, "attack.name"),
    "attack_version": (_TEXT, "attack.version"),
    "attack_params": (_TEXT, "attack.params"),
    "attack_code": (_TEXT, "attack.code_hash"),
    "defense": (_TEXT, "defense.name"),
    "defense_version": (_TEXT, "defense.version"),
    "defense_params": (_TEXT, "defense.params"),
    "defense_code": (_TEXT, "defense.code_hash"),
    "knowledge": (_TEXT, "threat.knowledge"),
    "mode": (_TEXT, "threat.mode"),
    "whole_set": (_FLAG, "whole_set"),
    "clean_label": (_FLAG, "threat.clean_label"),
    "epsilon": (_NUMBER, "threat.epsilon"),
    "n_poison": (_COUNT, "threat.n_poison"),
    "norm_bound": (_NUMBER, "threat.norm_bound"),
    "seed": (_COUNT, "seeds.run"),
    "acc1": (_NUMBER, "metrics.acc1"),
    "acc2": (_NUMBER, "metrics.acc2"),
    "drop": (_NUMBER, "metrics.drop"),
    "acc2_undefended": (_NUMBER, "metrics.acc2_undefended"),
    "acc1_defended": (_NUMBER, "metrics.acc1_defended"),
    "clean_cost": (_NUMBER, "metrics.clean_cost"),
    "trusted": (_COUNT, "defense_detail.trusted"),
    "removed": (_COUNT, "defense_detail.removed"),
    "precision": (_NUMBER, "defense_detail.precision"),
    "recall": (_NUMBER, "defense_detail.recall"),
    "linf": (_NUMBER, "poison_check.linf_max"),
    "duplicates": (_COUNT, "poison_check.duplicates"),
    "relabelled": (_COUNT, "poison_check.relabelled"),
    "pretrain_s": (_NUMBER, "timing.pretrain_s"),
    "attack_s": (_NUMBER, "timing.attack_s"),
    "defense_s": (_NUMBER, "timing.defense_s"),
    "retrain_s": (_NUMBER, "timing.retrain_s"),
    "total_s": (_NUMBER, "timing.total_s"),
    "rss_peak_mb": (_NUMBER, "memory.rss_peak_mb"),
    "cuda_peak_mb": (_NUMBER, "memory.cuda_peak_mb"),
    "python": (_TEXT, "environment.python"),
    "torch": (_TEXT, "environment.torch"),
    "cpu": (_TEXT, "environment.cpu"),
    "gpu": (_TEXT, "environment.gpu"),
    "threads": (_COUNT, "environment.threads"),
    "git": (_TEXT, "environment.git"),
    "source": (_TEXT, "provenance.source"),
    "verified_by": (_TEXT, "verified_by"),
    "submitted_acc1": (_NUMBER, "provenance.verification.submitted.metrics.acc1"),
    "submitted_acc2": (_NUMBER, "provenance.verification.submitted.metrics.acc2"),
    "submitted_drop": (_NUMBER, "provenance.verification.submitted.metrics.drop"),
    "started_at": (_TIME, "started_at"),
    "finished_at": (_TIME, "finished_at"),
}
"""By name, the type of the column and where a record has it."""


def frame(records: Iterable[Record]) -> pd.DataFrame:
    """One row a record, in their order, with the columns of COLUMNS whatever the records have.

    Accuracies are in percent, differences in points, times in seconds, memory in MiB. Parameters are canonical JSON and
    deviations one text, so that a DataFrame can be grouped by both. What a record does not have is missing (NaN, NA).
    """
    import pandas as pd  # here: it takes a quarter of a second, and lists and tables of texts do without

    found = list(records)
    columns = {name: [at(record, path) for record in found] for name, (_, path) in COLUMNS.items()}
    return pd.DataFrame({name: pd.Series(values, dtype=COLUMNS[name][0]) for name, values in columns.items()})


def at(record: Record, path: str) -> Any:
    """What a record has at a path such as "metrics.acc1", None if a part of it has no value. Parameters come as
    canonical JSON, deviations as one text."""
    found: Any = record
    for name in path.split("."):
        found = None if found is None else getattr(found, name)
    if isinstance(found, dict):
        return canonical_json(found)
    return "; ".join(found) if isinstance(found, tuple) else found
