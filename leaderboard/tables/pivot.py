"""Cells to tables with any axes. Numbers of different conditions are never averaged, only those of seeds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from poisonbench.leaderboard.methods import Method, labels
from poisonbench.leaderboard.tables.axes import NO_DEFENSE, Names, Setup, attack_in, coordinate, defense_in
from poisonbench.leaderboard.tables.cells import Cell, Numbers, cells, counted
from poisonbench.leaderboard.tables.marks import marks
from poisonbench.leaderboard.tables.shapes import Shape
from poisonbench.leaderboard.values import value
from poisonbench.store.tables import Row

CONDITIONS = ("protocol", "model", "epsilon", "attack", "defense")
"""What makes tables of its own where it is no axis. A protocol's entry holds its dataset, an attack's its surrogate."""

Entry = tuple[Any, ...]
"""Where a row, or a column, stands on each of its axes."""

Place = tuple[Entry, Entry, str]
"""Row, column and value."""


@dataclass(frozen=True)
class Table:
    """Numbers that may stand side by side.

    Attributes:
        shape: what is shown.
        conditions: by axis, where all of it stands on what is no axis of its own.
        rows: in order.
        columns: in order.
        cells: in the order of rows, columns and values; a place without a number has none.
        names: of the entries.
        counted: ranked good records, of each seed the latest.
        unranked: records left out because they deviate from the protocol.
        failed: records left out because they did not finish.
    """

    shape: Shape
    conditions: Mapping[str, Any]
    rows: tuple[Entry, ...]
    columns: tuple[Entry, ...]
    cells: Mapping[Place, Cell]
    names: Names
    counted: int
    unranked: int
    failed: int


def pivot(rows: Iterable[Row], numbers: Numbers, shape: Shape) -> list[Table]:
    """A table for each set of conditions that has a record, ranked or not.

    Args:
        rows: of records, in any order.
        numbers: of each value of the shape.
        shape: what is down and across.
    """
    records = counted(rows)
    wanted = {name: numbers[name] for name in shape.values}
    apart = tuple(axis for axis in CONDITIONS if axis not in shape.axes)
    groups: dict[Entry, list[Setup]] = {}
    for setup in records.setups:
        groups.setdefault(_entry(apart, setup, None, shape), []).append(setup)
    everywhere = _names(records.setups, shape, {})
    tables = []
    for entry, setups in groups.items():
        latest = {setup: records.latest[setup] for setup in setups if setup in records.latest}
        found = [cell for setup, by_seed in latest.items() for cell in cells(setup, by_seed, wanted, shape.axes)]
        names = _common(_names([cell.setup for cell in found], shape, _strengths(found, shape)), everywhere, shape)
        down, across = _order(shape.rows, found, names, shape), _order(shape.columns, found, names, shape)
        tables.append(
            Table(
                shape,
                dict(zip(apart, entry, strict=True)),
                down,
                across,
                _marked(_placed(found, down, across, shape), shape),
                names,
                sum(map(len, latest.values())),
                sum(records.unranked.get(setup, 0) for setup in setups),
                sum(records.failed.get(setup, 0) for setup in setups),
            )
        )
    return sorted(tables, key=lambda table: [everywhere.order(*pair) for pair in table.conditions.items()])


def _names(setups: Iterable[Setup], shape: Shape, strength: Mapping[Method, float]) -> Names:
    chosen = set(setups)
    attacks = labels({attack_in(setup, shape.axes) for setup in chosen})
    return Names(attacks, labels({defense_in(setup) for setup in chosen}), strength)


def _common(own: Names, everywhere: Names, shape: Shape) -> Names:
    """A table's entries are named among themselves; what all of it has in common, among all tables."""
    attacks = own if "attack" in shape.axes else everywhere
    defenses = own if "defense" in shape.axes else everywhere
    return Names(attacks.attacks, defenses.defenses, own.strength)


def _strengths(found: Iterable[Cell], shape: Shape) -> dict[Method, float]:
    """Of attacks, the strongest smallest: the best of the first value against no defense, else of all there is."""
    first = shape.values[0]
    better = value(first).attackers
    sizes: dict[Method, dict[bool, list[float]]] = {}
    for cell in found:
        if better is not None and cell.value == first:
            size = -cell.summary.mean if better == "largest" else cell.summary.mean
            by_defense = sizes.setdefault(attack_in(cell.setup, shape.axes), {True: [], False: []})
            by_defense[cell.setup.defense == NO_DEFENSE].append(size)
    return {attack: min(plain[True] or plain[False]) for attack, plain in sizes.items()}


def _order(axes: Sequence[str], found: Collection[Cell], names: Names, shape: Shape) -> tuple[Entry, ...]:
    entries = {_entry(axes, cell.setup, cell.seed, shape) for cell in found}
    return tuple(sorted(entries, key=lambda entry: [names.order(*pair) for pair in zip(axes, entry, strict=True)]))


def _placed(found: Iterable[Cell], rows: Sequence[Entry], columns: Sequence[Entry], shape: Shape) -> dict[Place, Cell]:
    by_place = {
        (*(_entry(axes, cell.setup, cell.seed, shape) for axes in (shape.rows, shape.columns)), cell.value): cell
        for cell in found
    }
    places = ((row, column, name) for row in rows for column in columns for name in shape.values)
    return {place: by_place[place] for place in places if place in by_place}


def _marked(placed: Mapping[Place, Cell], shape: Shape) -> dict[Place, Cell]:
    """Those compete that differ in the competitor alone."""
    contests: dict[tuple[str, Entry], list[Place]] = {}
    for row, column, name in placed:
        if contest := shape.contest(name):
            same = tuple(entry for axis, entry in zip(shape.axes, row + column, strict=True) if axis != contest[0])
            contests.setdefault((name, same), []).append((row, column, name))
    found = dict(placed)
    for (name, _), places in contests.items():
        if contest := shape.contest(name):
            for place, mark in zip(places, marks([placed[one].seeds for one in places], contest[1]), strict=True):
                found[place] = replace(placed[place], mark=mark)
    return found


def _entry(axes: Iterable[str], setup: Setup, seed: int | None, shape: Shape) -> Entry:
    return tuple(coordinate(axis, setup, seed, shape.axes) for axis in axes)
