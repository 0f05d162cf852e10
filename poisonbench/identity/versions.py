"""Declared versions, and the code that is on record for each.

A version says that numbers may be compared: it is raised when they can change. The book `versions.json` names, for
every version of the engine and of the methods, models and datasets that ship, the hashes of the code that computes its
numbers: the code as it was first written, and every later form of it that was found to give the same bits.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files

from poisonbench.identity.code import code_hash

ENGINE = 1
"""The version of everything that is not an attack, a defense, a model or a dataset: split, training, order, testing."""

_ENGINE_MODULES = (
    "poisonbench.defenses.composed",
    "poisonbench.experiment.runner",
    "poisonbench.experiment.victim",
    "poisonbench.problem.recipe",
    "poisonbench.training",
)

Book = Mapping[str, Mapping[str, Mapping[str, list[str]]]]
"""Kind → name → version → code hashes."""


def engine_hash() -> str:
    """The hash of the engine's code."""
    return code_hash(*_ENGINE_MODULES)


@cache
def book() -> Book:
    """What ships: versions.json."""
    found: Book = json.loads(files("poisonbench.identity").joinpath("versions.json").read_text("utf-8"))
    return found


def engine_identity() -> dict[str, str | int]:
    """What tells this engine's numbers from another's."""
    return identity("engine", "engine", ENGINE, engine_hash())


def identity(kind: str, name: str, version: int, code: str) -> dict[str, str | int]:
    """What tells a method's numbers from others in a cell's hash: name and version where that code is on record, else
    the code itself too: a plugin's, or one that is being changed."""
    known: dict[str, str | int] = {"name": name, "version": version}
    return known if on_record(kind, name, version, code) else {**known, "code": code}


def on_record(kind: str, name: str, version: int, code: str) -> bool:
    """Whether that code is known to compute that version's numbers."""
    return code in book().get(kind, {}).get(name, {}).get(str(version), [])


def current(kind: str, name: str) -> int | None:
    """The newest version of what ships under that name; None if nothing does."""
    return max(map(int, book().get(kind, {}).get(name, {})), default=None)


def outdated(made_by: Iterable[tuple[str, str, int]]) -> list[tuple[str, str, int]]:
    """What of that is not of the version that ships, or was made before versions were declared.

    Args:
        made_by: kind, name and version of everything that made a number; what does not ship passes with any version.
    """
    return [
        (kind, name, version) for kind, name, version in made_by if version != (current(kind, name) or version or 1)
    ]
