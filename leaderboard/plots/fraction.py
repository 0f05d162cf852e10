"""What a filter's fraction buys: drop, clean cost, precision and recall against the part of the rows it removes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import mean

from poisonbench.leaderboard.badges import signed
from poisonbench.leaderboard.conditions import Conditions, told_apart
from poisonbench.leaderboard.experiments import NO_STORE, Entries, Experiment, experiments, of_protocol
from poisonbench.leaderboard.methods import Method, labels
from poisonbench.leaderboard.statistics.intervals import Spread, spread
from poisonbench.leaderboard.values import undefended
from poisonbench.store.record import Record


@dataclass(frozen=True)
class Removal:
    """A defense with one fraction, over its seeds.

    Attributes:
        removed: part of the training set that was removed.
        drop: over its seeds, points.
        clean_cost: mean, points, or None if no record has one.
        recall: removed among the poison rows, mean.
        precision: poison among the removed rows, mean.
    """

    removed: float
    drop: Spread
    clean_cost: float | None
    recall: float | None
    precision: float | None


@dataclass(frozen=True)
class Curves:
    """One attack under one protocol, on one model, with one ε.

    Attributes:
        title: what it is.
        undefended: mean drop without any defense, or None if no record tells.
        by_defense: points in the order of the part removed.
        mixed_code: whether a mean is over seeds of different code; the defense's label has the sign then.
    """

    title: str
    undefended: float | None
    by_defense: dict[str, tuple[Removal, ...]]
    mixed_code: bool


def curves(records: Iterable[Record], entries: Entries = NO_STORE) -> list[Curves]:
    """Every attack that a filter was tried against, by protocol, model, ε and attack; entries are those of the store
    that the records are from."""
    groups: dict[tuple[Conditions, Method], list[Experiment[Record]]] = {}
    for one in experiments(records, entries):
        if one.ranked:
            groups.setdefault((one.conditions, one.attack), []).append(one)
    titles = told_apart((conditions for conditions, _ in groups), str)

    def order(key: tuple[Conditions, Method]) -> tuple[str, str, float, str, str]:
        conditions, _ = key
        label = groups[key][0].attack_label
        return conditions.protocol, conditions.model, conditions.epsilon, titles[conditions], label

    found = [
        _curves(f"{groups[key][0].attack_label} · {titles[key[0]]}", groups[key]) for key in sorted(groups, key=order)
    ]
    return [one for one in found if one.by_defense]


def _curves(title: str, group: Sequence[Experiment[Record]]) -> Curves:
    filters = [(one, removing) for one in group if (removing := _removing(one))]
    names = labels({one.defense.without("fraction") for one, _ in filters})
    mixed = {names[one.defense.without("fraction")] for one, _ in filters if one.mixed_code}
    points: dict[str, dict[str, list[Record]]] = {}
    for one, removing in filters:
        own = points.setdefault(names[one.defense.without("fraction")], {})
        for record in removing:
            removed = record.defense_detail.removed if record.defense_detail else None
            own.setdefault(str(record.defense.params.get("fraction", removed)), []).append(record)
    alone = {seed: drop for one in group for seed, drop in one.by_seed(undefended).items()}
    usual = [alone[seed] for seed in of_protocol(group[0].conditions, alone)]
    by_defense = {
        signed(name, name in mixed): tuple(sorted(_removals(settings.values()), key=lambda point: point.removed))
        for name, settings in sorted(points.items())
    }
    return Curves(title, mean(usual) if usual else None, by_defense, bool(mixed))


def _removing(one: Experiment[Record]) -> list[Record]:
    """The records whose defense removed something."""
    return [
        record
        for record in map(one.records.__getitem__, one.seeds_that_count)
        if record.defense_detail and record.defense_detail.removed
    ]


def _removals(settings: Iterable[list[Record]]) -> Iterator[Removal]:
    for records in settings:
        drop = spread(records, "drop")
        if drop is not None:
            yield _point(records, drop)


def _point(records: list[Record], drop: Spread) -> Removal:
    metrics = [record.metrics for record in records if record.metrics]
    details = [record.defense_detail for record in records if record.defense_detail]
    costs = [part.clean_cost for part in metrics if part.clean_cost is not None]
    recalls = [part.recall for part in details if part.recall is not None]
    precisions = [part.precision for part in details if part.precision is not None]
    removed = [(part.removed or 0) / _rows(record) for record, part in zip(records, details, strict=True)]
    return Removal(
        removed=mean(removed),
        drop=drop,
        clean_cost=mean(costs) if costs else None,
        recall=mean(recalls) if recalls else None,
        precision=mean(precisions) if precisions else None,
    )


def _rows(record: Record) -> int:
    """How many rows the defense was handed."""
    added = record.threat.n_poison if record.threat.mode == "addition" else 0
    return record.dataset.n_train + added
