"""A folder that is the old one or the new one, whatever happens while it is written."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from poisonbench.errors import StoreError, UsageError

MARKER = ".poisonbench-site"
"""In every folder that was made here; none without it is replaced."""

_ABOUT = "Made by `poisonbench leaderboard build`, which replaces this folder as a whole.\n"


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder`, which takes its place at the end; on any error it is gone and `folder` as it was.

    Raises:
        UsageError: if there is something in `folder` that was not made here.
        StoreError: if it cannot be written.
    """
    _check(folder)
    folder = folder.resolve()
    new = folder.with_name(f".{folder.name[:80]}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        new.mkdir(parents=True)
        (new / MARKER).write_text(_ABOUT, encoding="utf-8")
        yield new
        _swap(new, folder)
    except OSError as error:
        reason = error.strerror or error
        raise StoreError(f"Cannot write the site to {folder}: {reason}. Choose another --output.") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)


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
    shutil.rmtree(old, ignore_errors=True)
