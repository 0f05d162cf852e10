"""A hash of the code behind a number: what can change the number changes the hash, and nothing else does.

Hashed are syntax trees without docstrings, comments, imports, annotations and the texts of errors: of a module and,
from there on, of every module of poisonbench whose names are used and of every other module that is imported. Module
names and paths are not in it: a file may move. Nothing is imported to find out.
"""

from __future__ import annotations

import hashlib
import itertools
import sys
from collections.abc import Iterable, Iterator
from functools import cache

from poisonbench.identity import sources
from poisonbench.identity.sources import package, source
from poisonbench.identity.syntax import Module, parsed

_INERT = (
    "poisonbench",  # the face alone: what is behind it is followed
    "poisonbench.data.base",  # what a dataset holds is checked by its own hash
    "poisonbench.errors",
    "poisonbench.experiment.cell",  # what it decides stands in the cell's hash
    "poisonbench.experiment.cell_hash",
    "poisonbench.experiment.findings",
    "poisonbench.experiment.protocol",
    "poisonbench.guard",
    "poisonbench.identity.code",
    "poisonbench.identity.versions",
    "poisonbench.plugged",
    "poisonbench.plugins",
    "poisonbench.process",
    "poisonbench.stages.cache",
    "poisonbench.stages.checkpoint",
    "poisonbench.store",
)
"""Modules and packages of poisonbench that cannot change a number: they name, check, keep and report."""

_FACE = "_FACE"
"""In poisonbench/__init__.py: exported name → "module:attribute"."""


@cache
def code_hash(*modules: str) -> str:
    """SHA-256 over the code of modules and of all that they use of poisonbench, of their own package, and of modules
    that belong to no installed distribution (a helper file beside a plugin).

    Cost: 1 ms a module that was not read before.
    """
    digests = sorted(_module(name).digest for name in reached(*modules))
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def reached(*modules: str) -> set[str]:
    """The modules that `code_hash` covers."""
    found: set[str] = set()
    waiting = list(modules)
    packages = {"poisonbench", *(name.partition(".")[0] for name in modules)}
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        waiting.extend(_followed(_uses(name), packages))
    return found


def forget() -> None:
    """Read every source anew from now on."""
    sources.forget()
    for cached in (code_hash, _module, _face):
        cached.cache_clear()


def _followed(names: Iterable[str], packages: set[str]) -> Iterator[str]:
    for name in names:
        if not any(name == one or (one != "poisonbench" and name.startswith(f"{one}.")) for one in _INERT) and (
            name.partition(".")[0] in packages or _loose(name)
        ):
            yield name


def _uses(name: str) -> Iterator[str]:
    """The modules that a module's code takes names from; of a plugin's also those that it only imports, which may do
    something when they are."""
    module = _module(name)
    ours = name.startswith("poisonbench.") and not name.startswith("poisonbench.plugged.")
    for used in module.uses if ours else module.uses | module.imports:
        target = _face().get(used.removeprefix("poisonbench."), used) if used.startswith("poisonbench.") else used
        parts = target.split(".")
        longest = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
        yield from itertools.islice((one for one in longest if source(one) is not None), 1)


@cache
def _face() -> dict[str, str]:
    """Exported name → dotted name of what it stands for."""
    table = _module("poisonbench").literals.get(_FACE)
    return {name: target.replace(":", ".") for name, target in table.items()} if isinstance(table, dict) else {}


@cache
def _module(name: str) -> Module:
    path = source(name)
    return parsed(path.read_bytes(), package(name)) if path else parsed(b"", name)


def _loose(name: str) -> bool:
    """Whether a module is somebody's own file: not of Python, and of no installed distribution."""
    path = source(name)
    if path is None or name.partition(".")[0] in sys.stdlib_module_names:
        return False
    return not {"site-packages", "dist-packages"} & set(path.parts)
