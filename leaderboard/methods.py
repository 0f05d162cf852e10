"""Attacks and defenses as boards name them: one method with two settings is two."""

from __future__ import annotations

import json
from typing import Any

from poisonbench.store.canonical import canonical_json
from poisonbench.store.record import Record

Method = tuple[str, str, str | None]
"""Name, parameters as canonical JSON, surrogate."""


def attack_of(record: Record) -> Method:
    """The attack with its settings."""
    return record.attack.name, canonical_json(record.attack.params), record.surrogate


def defense_of(record: Record, *leaving_out: str) -> Method:
    """The defense with its settings, but for the fields left out."""
    params = {key: setting for key, setting in record.defense.params.items() if key not in leaving_out}
    return record.defense.name, canonical_json(params), None


def labels(methods: set[Method]) -> dict[Method, str]:
    """A name for each: the plain one if it is run with one setting only, else with the fields that tell them apart."""
    namesakes: dict[str, dict[Method, dict[str, Any]]] = {}
    for method in methods:
        namesakes.setdefault(method[0], {})[method] = json.loads(method[1])
    return {method: label for group in namesakes.values() for method, label in _labels(group).items()}


def _labels(group: dict[Method, dict[str, Any]]) -> dict[Method, str]:
    """Of methods of one name, by their parameters."""
    keys = {key for params in group.values() for key in params}
    # As text: to Python 1, 1.0 and true are equal, as settings they are not.
    telling = sorted(key for key in keys if len({canonical_json(params.get(key)) for params in group.values()}) > 1)
    found = {}
    for method, params in group.items():
        name, _, surrogate = method
        notes = [f"{key}={params[key]}" for key in telling if key in params]
        notes += [f"on {surrogate}"] if surrogate else []
        found[method] = f"{name} ({', '.join(notes)})" if notes else name
    return found
