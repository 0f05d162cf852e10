"""Single files as plugins: `poisonbench.plugged.<stem>` is the module of a file named by POISONBENCH_PLUGINS.

The variable is inherited by every process that is started from here, fresh interpreters and Ray's workers included, so
that whatever is pickled by reference to such a module is found there too. Only the named files can be imported, not
their neighbours: a file of the same folder never takes the place of one that was asked for.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

from poisonbench.errors import PluginError

VARIABLE = "POISONBENCH_PLUGINS"
"""Absolute paths, joined by os.pathsep."""

__path__.clear()  # nothing beside this file is a part of this package


def files() -> dict[str, Path]:
    """The files of POISONBENCH_PLUGINS by stem.

    Raises:
        PluginError: for one that cannot be a plugin, or two of one stem; names the file.
    """
    found: dict[str, Path] = {}
    for text in filter(None, os.environ.get(VARIABLE, "").split(os.pathsep)):
        path = Path(text)
        _refuse(path)
        other = found.setdefault(path.stem, path)
        if other != path:
            raise PluginError(f"{path} and {other} have the same name; rename one of them.")
    return found


def add(paths: Iterable[Path]) -> None:
    """Append files to POISONBENCH_PLUGINS.

    Raises:
        PluginError: as `files`, or for a path that the variable cannot hold; it then stays as it was.
    """
    before = os.environ.get(VARIABLE)
    known = [text for text in (before or "").split(os.pathsep) if text]
    for path in paths:
        text = str(path.expanduser().resolve())
        if os.pathsep in text:
            raise PluginError(f"{text}: a plugin's path cannot have {os.pathsep!r} in it; move the file.")
        if text not in known:
            known.append(text)
    if known:
        os.environ[VARIABLE] = os.pathsep.join(known)
    try:
        files()
    except PluginError:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before
        raise


def _refuse(path: Path) -> None:
    """Name what keeps a path from being a module of this package."""
    if path.suffix != ".py":
        raise PluginError(f"{path}: expected a Python file, *.py. A package is installed: pip install FOLDER.")
    if "." in path.stem:
        raise PluginError(f"{path}: a plugin's file name has one dot, that of .py; rename the file.")
    if not path.is_absolute():
        raise PluginError(f"{path}: {VARIABLE} expects absolute paths.")
    if not path.is_file():
        raise PluginError(f"{path}: no such file.")


class _Finder:
    """Finds `poisonbench.plugged.<stem>`, for Python's own import."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The spec of a plugged file's module; None for every other name."""
        package, _, stem = name.rpartition(".")
        if package != __name__ or stem not in (known := files()):
            return None
        return spec_from_file_location(name, known[stem])


if not any(getattr(finder, "__name__", "") == _Finder.__name__ for finder in sys.meta_path):
    sys.meta_path.append(_Finder)
