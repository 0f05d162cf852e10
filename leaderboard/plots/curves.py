"""What a filter's fraction buys: drop, clean cost and recall against the part of the rows that it removes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import mean, stdev

from poisonbench.leaderboard.methods import attack_of, defense_of, labels
from poisonbench.store.record import Record


@dataclass(frozen=True)
class Point:
    """A defense with one fraction, over its seeds.

    Attributes:
        removed: part of the training set that was removed.
        drop: mean, points.
        std: of the drop, or None with one seed.
        clean_cost: mean, points, or None if no record has one.
        recall: removed among the poison rows, mean.
        seeds: how many.
    """

    removed: float
    drop: float
    std: float | None
    clean_cost: float | None
    recall: float | None
    seeds: int


@dataclass(frozen=True)
class Curves:
    """One attack under one protocol, on one model, with one ε.

    Attributes:
        title: what it is.
        undefended: mean drop without any defense, or None if no record tells.
        by_defense: points in the order of the part removed.
    """

    title: str
    undefended: float | None
    by_defense: dict[str, tuple[Point, ...]]


def curves(records: Iterable[Record]) -> list[Curves]:
    """Every attack that a filter was tried against; of a seed's records the latest counts."""
    groups: dict[tuple[str, str, float], list[Record]] = {}
    for record in sorted(records, key=lambda record: record.finished_at):
        if record.status == "ok" and record.ranked:
            groups.setdefault((record.protocol.name, record.model.name, record.threat.epsilon), []).append(record)
    found = []
    for (protocol, model, epsilon), group in sorted(groups.items()):
        names = labels({attack_of(record) for record in group})
        for attack, name in sorted(names.items(), key=lambda item: item[1]):
            own = {(defense_of(record), record.seeds.run): record for record in group if attack_of(record) == attack}
            curve = _curves(f"{name} · {protocol} · {model} · ε = {epsilon:g}", list(own.values()))
            found += [curve] if curve.by_defense else []
    return found


def _curves(title: str, records: list[Record]) -> Curves:
    filters = [record for record in records if record.defense_detail and record.defense_detail.removed]
    names = labels({defense_of(record, "fraction") for record in filters})
    points: dict[str, dict[str, list[Record]]] = {}
    for record in filters:
        setting = str(record.defense.params.get("fraction", record.defense_detail and record.defense_detail.removed))
        points.setdefault(names[defense_of(record, "fraction")], {}).setdefault(setting, []).append(record)
    alone = {
        record.seeds.run: record.metrics.acc1 - record.metrics.acc2_undefended
        for record in records
        if record.metrics and record.metrics.acc2_undefended is not None
    }
    by_defense = {
        name: tuple(sorted((_point(group) for group in settings.values()), key=lambda point: point.removed))
        for name, settings in sorted(points.items())
    }
    return Curves(title, mean(alone.values()) if alone else None, by_defense)


def _point(records: list[Record]) -> Point:
    metrics = [record.metrics for record in records if record.metrics]
    details = [record.defense_detail for record in records if record.defense_detail]
    drops = [part.drop for part in metrics]
    costs = [part.clean_cost for part in metrics if part.clean_cost is not None]
    recalls = [part.recall for part in details if part.recall is not None]
    removed = [(part.removed or 0) / _rows(record) for record, part in zip(records, details, strict=True)]
    return Point(
        removed=mean(removed),
        drop=mean(drops),
        std=stdev(drops) if len(drops) > 1 else None,
        clean_cost=mean(costs) if costs else None,
        recall=mean(recalls) if recalls else None,
        seeds=len(records),
    )


def _rows(record: Record) -> int:
    """Rows that the defense was handed."""
    added = record.threat.n_poison if record.threat.mode == "addition" else 0
    return record.dataset.n_train + added
