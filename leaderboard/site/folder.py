"""A folder that is the old one or the new one, whatever happens while it is written."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from poisonbench.errors import StoreError, UsageError
from poisonbench.files.atomic import new_folder, temporary_beside
from poisonbench.files.holds import abandoned
from poisonbench.files.leftovers import Leftover, leftover

MARKER = ".poisonbench-site"
"""In every folder that was made here; none without it is replaced."""

_ABOUT = "Made by `poisonbench leaderboard build`, which replaces this folder as a whole.\n"
_ASIDE = re.compile(r"(?P<new>\.(?P<name>.+)\.\d+\.[0-9a-f]{8})\.old")
"""The name of a site while the new one takes its place."""


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder`, which takes its place at the end; on any error it is gone and `folder` as it was.

    Raises:
        UsageError: if there is something in `folder` that was not made here.
        StoreError: if it cannot be written.
    """
    _check(folder)
    folder = folder.resolve()
    try:
        for found in set_aside(folder.parent):
            found.remove()
        with new_folder(folder, _swap) as new:
            (new / MARKER).write_text(_ABOUT, encoding="utf-8")
            yield new
    except OSError as error:
        reason = error.strerror or error
        raise StoreError(f"Cannot write the site to {folder}: {reason}. Choose another --output.") from error


def set_aside(folder: Path) -> Iterator[Leftover]:
    """Sites below `folder` that a killed build had moved aside. To remove one brings it back if no other took its
    place."""
    for path in sorted(folder.glob(".*.old")) if folder.is_dir() else ():
        named = _ASIDE.fullmatch(path.name)
        if named is None or path.is_symlink() or not (path / MARKER).is_file():
            continue
        new = folder / f"{named['new']}.tmp"
        if not new.exists() or abandoned(new):
            yield leftover(path, "of a build that was killed as it replaced a site", _back_or_away)


def _back_or_away(old: Path) -> None:
    named = _ASIDE.fullmatch(old.name)
    if named is not None and not (folder := old.with_name(named["name"])).exists():
        old.rename(folder)
    else:
        _away(old)


def _away(old: Path) -> None:
    """Remove a site that another has taken the place of, under a name that tells so if it comes to no end."""
    gone = old.rename(temporary_beside(old))
    shutil.rmtree(gone, ignore_errors=True)


def _check(folder: Path) -> None:
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise UsageError(f"{folder} is a file or a link. Choose another --output.")
    if folder.is_dir() and not (folder / MARKER).is_file() and any(folder.iterdir()):
        raise UsageError(f"{folder} has files of something else. Choose another --output, or an empty folder.")


def _swap(new: Path, folder: Path) -> None:
    """Folders cannot be exchanged in one step everywhere: the old one moves aside first, and back if that fails."""
    _check(folder)
    old = new.with_suffix(".old")
    if folder.exists():
        folder.rename(old)
    try:
        new.rename(folder)
    except BaseException:
        with suppress(OSError):
            old.rename(folder)
        raise
    if old.exists():
        _away(old)
