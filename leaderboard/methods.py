"""Attacks and defenses as boards name them: one method with two settings is two."""

from __future__ import annotations

import json

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
    found = {}
    for method in methods:
        name, params, surrogate = method
        namesakes = [json.loads(other) for rival, other, _ in methods if rival == name]
        own = json.loads(params)
        telling = [key for key in sorted(own) if any(other.get(key) != own[key] for other in namesakes)]
        notes = [f"{key}={own[key]}" for key in telling] + ([f"on {surrogate}"] if surrogate else [])
        found[method] = f"{name} ({', '.join(notes)})" if notes else name
    return found
