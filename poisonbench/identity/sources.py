"""Where a module's source lies, found from package to package as an import would, without importing any of them."""

from __future__ import annotations

import sys
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path


@cache
def source(module: str) -> Path | None:
    """The Python file of a module; None if that name is no module, or one without source."""
    found = _spec(module)
    path = Path(found.origin) if found and found.origin else None
    return path if path and path.suffix == ".py" and path.is_file() else None


def package(module: str) -> str:
    """The package that a module's relative imports start from: itself, if it is one."""
    found = _spec(module)
    return module if found and found.submodule_search_locations is not None else module.rpartition(".")[0]


@cache
def _spec(module: str) -> ModuleSpec | None:
    parent, _, _ = module.rpartition(".")
    folders = None
    if parent:
        above = _spec(parent)
        if above is None or above.submodule_search_locations is None:
            return None
        folders = list(above.submodule_search_locations)
    specs = (finder.find_spec(module, folders) for finder in sys.meta_path)
    return next((spec for spec in specs if spec is not None), None)


def forget() -> None:
    """Look for every module anew from now on."""
    source.cache_clear()
    _spec.cache_clear()
