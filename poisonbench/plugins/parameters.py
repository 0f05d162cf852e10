"""The parameters of a method: its fields as records and hashes have them."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from poisonbench.store.canonical import plain

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def parameters(method: DataclassInstance) -> dict[str, Any]:
    """The fields of an attack or defense in JSON's own types, from which, together with its `places`, `configure`
    rebuilds it. A later field (see `Attack.later_fields`) that has its default is left out: what was recorded before
    there was such a field is of the same cell."""
    later: frozenset[str] = getattr(type(method), "later_fields", frozenset())
    defaults = {item.name: item.default for item in fields(method) if item.name in later}
    values, elsewhere = asdict(method), places(method)
    return {
        name: plain(value)
        for name, value in values.items()
        if name not in elsewhere and (name not in defaults or value != defaults[name])
    }


def places(method: DataclassInstance) -> dict[str, Any]:
    """Its fields that say where something lies, see `Attack.places`, in JSON's own types."""
    declared: frozenset[str] = getattr(type(method), "places", frozenset())
    return {name: plain(value) for name, value in asdict(method).items() if name in declared}
