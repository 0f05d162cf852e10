"""Tables of numbers for programs: a line, or an object, for each cell, with every number in full."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from poisonbench.leaderboard.tables.axes import attack_in, defense_in
from poisonbench.leaderboard.tables.cells import Cell
from poisonbench.leaderboard.tables.pivot import Table
from poisonbench.leaderboard.tables.sheet_csv import csv_text

COLUMNS = (
    "protocol", "dataset", "model", "epsilon", "attack", "attack_params", "surrogate", "defense", "defense_params",
    "seed", "value", "n", "mean", "std", "low", "high", "mark",
)  # fmt: skip


def as_csv(tables: Iterable[Table]) -> str:
    """A line for each cell of all tables. Attacks and defenses are labelled as in their table; their parameters are
    JSON; low and high bound the 95 % interval of the mean."""
    return csv_text(COLUMNS, (_line(cell, table) for table in tables for cell in table.cells.values()))


def document(tables: Iterable[Table]) -> list[dict[str, Any]]:
    """The same as JSON's own types: a list of tables, each with its cells and how many records it left out."""
    return [
        {
            "rows": list(table.shape.rows),
            "columns": list(table.shape.columns),
            "values": list(table.shape.values),
            "conditions": {axis: table.names.label(axis, entry) for axis, entry in table.conditions.items()},
            "counted": table.counted,
            "unranked": table.unranked,
            "failed": table.failed,
            "cells": [_object(cell, table) for cell in table.cells.values()],
        }
        for table in tables
    ]


def _line(cell: Cell, table: Table) -> list[object]:
    setup, found = cell.setup, cell.summary
    attack, defense = _labels(cell, table)
    low, high = found.interval or (None, None)
    return [
        setup.protocol, setup.dataset, setup.model, setup.epsilon, attack, setup.attack_params, setup.surrogate,
        defense, setup.defense_params, cell.seed, cell.value, found.n, found.mean, found.std, low, high, cell.mark,
    ]  # fmt: skip


def _object(cell: Cell, table: Table) -> dict[str, Any]:
    setup, found = cell.setup, cell.summary
    attack, defense = _labels(cell, table)
    return {
        "protocol": setup.protocol,
        "dataset": setup.dataset,
        "model": setup.model,
        "epsilon": setup.epsilon,
        "attack": {"label": attack, "name": setup.attack, "params": json.loads(setup.attack_params)},
        "surrogate": setup.surrogate,
        "defense": {"label": defense, "name": setup.defense, "params": json.loads(setup.defense_params)},
        "seed": cell.seed,
        "value": cell.value,
        "n": found.n,
        "mean": found.mean,
        "std": found.std,
        "interval": found.interval,
        "mark": cell.mark,
    }


def _labels(cell: Cell, table: Table) -> tuple[str, str]:
    attack, defense = attack_in(cell.setup, table.shape.axes), defense_in(cell.setup)
    return table.names.label("attack", attack), table.names.label("defense", defense)
