"""One setting a method: several settings of one attack or defense are one entry of a ranking, not a crowd of them."""

from __future__ import annotations

import json
from collections.abc import Mapping

from poisonbench.leaderboard.declarations import declaration
from poisonbench.leaderboard.methods import Method


def ranked_settings(kind: str, ages: Mapping[Method, tuple[int, str]]) -> frozenset[Method]:
    """Of each name the one setting that is ranked: the class's defaults if they are there, else the oldest.

    Args:
        kind: attack or defense.
        ages: by method, that of its oldest record, see `precedence`.
    """
    best: dict[str, Method] = {}
    for method in sorted(ages, key=lambda method: (not is_default(kind, method), ages[method], method.params)):
        best.setdefault(method.name, method)
    return frozenset(best.values())


def is_default(kind: str, method: Method) -> bool:
    """Whether every field has the default that the class declares now. A mode is the protocol's, and a default that is
    no literal is not known: neither counts. A surrogate is a setting, as is a defense that is known."""
    if method.surrogate is not None or method.informed:
        return False
    for key, value in json.loads(method.params).items():
        owner, _, own = key.rpartition(".")
        defaults = declaration(kind, owner or method.name).defaults
        if own != "mode" and own in defaults and json.dumps(defaults[own]) != json.dumps(value):
            return False
    return True
