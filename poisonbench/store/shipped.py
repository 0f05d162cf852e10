"""Which records ship with poisonbench: JSON files in leaderboard/results/, each named by its record's id."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable


def shipped_files() -> list[Traversable]:
    """The files, in the order of their names."""
    folder = files("poisonbench.leaderboard").joinpath("results")
    found = folder.iterdir() if folder.is_dir() else iter(())
    return sorted((item for item in found if item.name.endswith(".json")), key=lambda item: item.name)


@cache
def shipped_ids() -> frozenset[str]:
    """The ids of those records. An id is a hash of its record's content: no other record can have it."""
    return frozenset(item.name.removesuffix(".json") for item in shipped_files())
