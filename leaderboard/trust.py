"""Defenses with trusted data and those without: who is shown clean rows that no attack changes knows more, so the two
are ranked apart."""

from __future__ import annotations

from enum import StrEnum
from functools import cache

from poisonbench.plugins.declared_knowledge import declared_trust
from poisonbench.plugins.registry import entries


class Trust(StrEnum):
    """Whether a defense uses trusted data, in the order of the boards."""

    WITHOUT = "without trusted data"
    WITH = "with trusted data"


def trust(defense: str, rows: int | None) -> Trust:
    """The group of a defense.

    Args:
        defense: its name; several are joined by +.
        rows: how many trusted rows it was shown. None is a record from before they were counted: then what the class
            declares decides, and one whose fields decide counts as with.
    """
    return Trust.WITH if (_declared(defense) if rows is None else rows > 0) else Trust.WITHOUT


@cache
def _declared(defense: str) -> bool:
    known = entries("defense")
    return any(True in declared_trust(known[part]) for part in defense.split("+") if part in known)
