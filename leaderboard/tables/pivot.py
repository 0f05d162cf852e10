"""Experiments to tables with any axes. Numbers of different conditions are never averaged, only those of seeds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from poisonbench.leaderboard.conditions import told_apart
from poisonbench.leaderboard.counting import seeds_that_count, settings_that_count
from poisonbench.leaderboard.experiments import Experiment, experiments
from poisonbench.leaderboard.methods import NO_DEFENSE, Method, labels, model_labels
from poisonbench.leaderboard.statistics.answers import Answered
from poisonbench.leaderboard.statistics.ranking import Better
from poisonbench.leaderboard.tables.axes import Names, attack_in, coordinate
from poisonbench.leaderboard.tables.marks import Mark, marks
from poisonbench.leaderboard.tables.measurements import Measurement, Numbers, measurements
from poisonbench.leaderboard.tables.shapes import Shape
from poisonbench.leaderboard.trust import Trust
from poisonbench.leaderboard.values import value
from poisonbench.store.tables import Row

CONDITIONS = ("protocol", "model", "epsilon", "attack", "defense")
"""What makes tables of its own where it is no axis. A protocol's entry holds its dataset, an attack's its surrogate."""

_MODELS = ("model", "surrogate")
"""Axes whose entries are models."""

Entry = tuple[Any, ...]
"""Where a row, or a column, stands on each of its axes."""

Position = tuple[Entry, Entry, str]
"""Row, column and value."""


@dataclass(frozen=True)
class Table:
    """Numbers that may stand side by side.

    Attributes:
        shape: what is shown.
        conditions: by axis, where all of it stands on what is no axis of its own.
        rows: in order.
        columns: in order.
        measured: in the order of rows, columns and values; a position without a number has none.
        names: of the entries.
        counted: ranked good records of the seeds that count, of each the latest.
        other_seeds: good ones of other seeds, left out.
        unranked: cells left out because they deviate from the protocol, or are of another version of a method.
        failed: cells left out because no run of them finished.
    """

    shape: Shape
    conditions: Mapping[str, Any]
    rows: tuple[Entry, ...]
    columns: tuple[Entry, ...]
    measured: Mapping[Position, Measurement]
    names: Names
    counted: int
    other_seeds: int
    unranked: int
    failed: int


def pivot(
    rows: Iterable[Row], numbers: Numbers, shape: Shape, answers: Mapping[str, Answered] = MappingProxyType({})
) -> list[Table]:
    """A table for each set of conditions that has a record, ranked or not.

    Args:
        rows: of records, in any order.
        numbers: of each value of the shape.
        shape: what is down and across.
        answers: by record id; without them a mean over test images has neither an interval nor a mark.
    """
    wanted = {name: numbers[name] for name in shape.values}
    apart = tuple(axis for axis in CONDITIONS if axis not in shape.axes)
    groups: dict[Entry, list[Experiment[Row]]] = {}
    every = experiments(rows)
    for one in every:
        groups.setdefault(_entry(apart, one, None, shape), []).append(one)
    everywhere = _names(every, shape, {})
    tables = []
    for entry, group in groups.items():
        ranked = [one for one in group if one.ranked]
        others = 0 if "seed" in shape.axes else sum(one.other_seeds for one in ranked)
        found = [measurement for one in ranked for measurement in measurements(one, wanted, answers, shape.axes)]
        names = _common(_names([one.experiment for one in found], shape, _strengths(found, shape)), everywhere, shape)
        down, across = _order(shape.rows, found, names, shape), _order(shape.columns, found, names, shape)
        tables.append(
            Table(
                shape,
                dict(zip(apart, entry, strict=True)),
                down,
                across,
                _marked(_positioned(found, down, across, shape), shape),
                names,
                sum(len(one.records) for one in ranked) - others,
                others,
                sum(len(one.records) for one in group if not one.counts),
                sum(len(one.failures) for one in group),
            )
        )
    return sorted(tables, key=lambda table: [everywhere.order(*pair) for pair in table.conditions.items()])


def _names(found: Iterable[Experiment[Row]], shape: Shape, strength: Mapping[Method, float]) -> Names:
    chosen = list(found)
    return Names(
        labels({attack_in(one, shape.axes) for one in chosen}),
        labels({one.defense for one in chosen}),
        told_apart(
            (one.conditions.of_protocol for one in chosen), lambda conditions: conditions.protocol + conditions.tail
        ),
        model_labels(
            (one.conditions.of_protocol, coordinate(axis, one, None, ())) for one in chosen for axis in _MODELS
        ),
        strength,
    )


def _common(own: Names, everywhere: Names, shape: Shape) -> Names:
    """A table's entries are named among themselves; what all of it has in common, among all tables."""
    attacks = own if "attack" in shape.axes else everywhere
    defenses = own if "defense" in shape.axes else everywhere
    return Names(attacks.attacks, defenses.defenses, everywhere.protocols, everywhere.models, own.strength)


def _strengths(found: Iterable[Measurement], shape: Shape) -> dict[Method, float]:
    """Of attacks, the strongest smallest: the best of the first value against no defense, else of all there is."""
    first = shape.values[0]
    better = value(first).attackers
    sizes: dict[Method, dict[bool, list[float]]] = {}
    for one in found:
        if better is not None and one.value == first:
            size = -one.summary.mean if better == "largest" else one.summary.mean
            by_defense = sizes.setdefault(attack_in(one.experiment, shape.axes), {True: [], False: []})
            by_defense[one.experiment.defense.name == NO_DEFENSE].append(size)
    return {attack: min(plain[True] or plain[False]) for attack, plain in sizes.items()}


def _order(axes: Sequence[str], found: Collection[Measurement], names: Names, shape: Shape) -> tuple[Entry, ...]:
    entries = {_entry(axes, one.experiment, one.seed, shape) for one in found}
    return tuple(sorted(entries, key=lambda entry: [names.order(*pair) for pair in zip(axes, entry, strict=True)]))


def _positioned(
    found: Iterable[Measurement], rows: Sequence[Entry], columns: Sequence[Entry], shape: Shape
) -> dict[Position, Measurement]:
    by_position = {
        (*(_entry(axes, one.experiment, one.seed, shape) for axes in (shape.rows, shape.columns)), one.value): one
        for one in found
    }
    positions = ((row, column, name) for row in rows for column in columns for name in shape.values)
    return {position: by_position[position] for position in positions if position in by_position}


def _marked(found: Mapping[Position, Measurement], shape: Shape) -> dict[Position, Measurement]:
    """The measurements with their marks. Those compete that differ in the competitor alone; of defenses those with
    trusted data and those without, each among themselves."""
    contests: dict[tuple[str, Entry, Trust | None], list[Position]] = {}
    for (row, column, name), one in found.items():
        if contest := shape.contest(name):
            same = tuple(entry for axis, entry in zip(shape.axes, row + column, strict=True) if axis != contest[0])
            family = one.experiment.trust if contest[0] == "defense" else None
            contests.setdefault((name, same, family), []).append((row, column, name))
    marked = dict(found)
    for (name, *_), positions in contests.items():
        if contest := shape.contest(name):
            rivals = [found[each] for each in positions]
            for at, mark in zip(positions, _marks(rivals, *contest), strict=True):
                marked[at] = replace(found[at], mark=mark)
    return marked


def _marks(family: Sequence[Measurement], competitor: str, better: Better) -> list[Mark | None]:
    """The marks of measurements that compete: as on a board, one setting a method, over the protocol's seeds."""
    main = settings_that_count(competitor, [one.experiment for one in family])
    entries = {
        str(index): one.contributions
        for index, one in enumerate(family)
        if (one.experiment.attack if competitor == "attack" else one.experiment.defense) in main
    }
    seeds = seeds_that_count(family[0].experiment.conditions.protocol, entries)
    found = marks(entries, seeds, better)
    return [found.get(str(index)) for index in range(len(family))]


def _entry(axes: Iterable[str], experiment: Experiment[Row], seed: int | None, shape: Shape) -> Entry:
    return tuple(coordinate(axis, experiment, seed, shape.axes) for axis in axes)
