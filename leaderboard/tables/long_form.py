"""Tables of numbers for programs: a line, or an object, for each measurement, with every number in full."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from poisonbench.leaderboard.badges import Badge
from poisonbench.leaderboard.experiments import Experiment
from poisonbench.leaderboard.tables.axes import coordinate
from poisonbench.leaderboard.tables.measurements import Measurement
from poisonbench.leaderboard.tables.pivot import Table
from poisonbench.leaderboard.tables.sheet_csv import csv_text
from poisonbench.store.canonical import canonical_json
from poisonbench.store.record_setup import KNOWS
from poisonbench.store.tables import Row

COLUMNS = (
    "protocol", "dataset", "model", "epsilon", "attack", "attack_params", "surrogate", "defense", "defense_params",
    "trusted", "seed", "value", "n", "mean", "std", "low", "high", "mark",
)  # fmt: skip


def as_csv(tables: Iterable[Table]) -> str:
    """A CSV with a line for each measurement of all tables. Protocols, attacks and defenses are labelled as in their
    table; their parameters are JSON; trusted is how many trusted rows the defense was shown; low and high bound the
    95 % interval of the mean. A mark is best, tied, mixed code or two of them by comma."""
    return csv_text(COLUMNS, (_line(one, table) for table in tables for one in table.measured.values()))


def document(tables: Iterable[Table]) -> list[dict[str, Any]]:
    """The same as JSON's own types: a list of tables, each with its measurements and how many records it left out."""
    return [
        {
            "rows": list(table.shape.rows),
            "columns": list(table.shape.columns),
            "values": list(table.shape.values),
            "conditions": {axis: table.names.label(axis, entry) for axis, entry in table.conditions.items()},
            "counted": table.counted,
            "other_seeds": table.other_seeds,
            "unranked": table.unranked,
            "failed": table.failed,
            "cells": [_object(one, table) for one in table.measured.values()],
        }
        for table in tables
    ]


def _line(one: Measurement, table: Table) -> list[object]:
    experiment, found = one.experiment, one.summary
    protocol, model, attack, defense = _labels(one, table)
    low, high = one.interval or (None, None)
    return [
        protocol, experiment.conditions.dataset, model, experiment.conditions.epsilon, attack,
        canonical_json(_attack_params(experiment)), experiment.attack.surrogate, defense,
        experiment.defense.params, experiment.trusted,
        one.seed, one.value, found.n, found.mean, found.std, low, high, _mark(one),
    ]  # fmt: skip


def _object(one: Measurement, table: Table) -> dict[str, Any]:
    experiment, found = one.experiment, one.summary
    protocol, model, attack, defense = _labels(one, table)
    return {
        "protocol": protocol,
        "dataset": experiment.conditions.dataset,
        "model": model,
        "epsilon": experiment.conditions.epsilon,
        "attack": {"label": attack, "name": experiment.attack.name, "params": _attack_params(experiment)},
        "surrogate": experiment.attack.surrogate,
        "defense": {"label": defense, "name": experiment.defense.name, "params": json.loads(experiment.defense.params)},
        "trusted": experiment.trusted,
        "family": experiment.trust,
        "seed": one.seed,
        "value": one.value,
        "n": found.n,
        "mean": found.mean,
        "std": found.std,
        "interval": one.interval,
        "mark": _mark(one),
    }


def _attack_params(experiment: Experiment[Row]) -> dict[str, Any]:
    """As in its records: of an attack that knows the defense with its name."""
    found: dict[str, Any] = json.loads(experiment.attack.params)
    return found | ({KNOWS: experiment.defense.name} if experiment.attack.informed else {})


def _labels(one: Measurement, table: Table) -> tuple[str, str, str, str]:
    protocol, model, attack, defense = (
        table.names.label(axis, coordinate(axis, one.experiment, None, table.shape.axes))
        for axis in ("protocol", "model", "attack", "defense")
    )
    return protocol, model, attack, defense


def _mark(one: Measurement) -> str | None:
    found = [*([one.mark] if one.mark else []), *([Badge.MIXED_CODE] if one.mixed_code else [])]
    return ", ".join(found) or None
