"""Files and folders that are either the old one or the new one, whatever happens in between."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from poisonbench.files.holds import HELD, held, hold
from poisonbench.files.leftovers import clear_beside

TEMPORARY_SUFFIX = ".tmp"


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        OSError: if it cannot be written; nothing is left under either name.
    """
    with replacing(path) as file:
        file.write(data)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file under a temporary name beside `path`: at the end fsync, rename over it, fsync the folder. After an error
    nothing is left under either name.

    Raises:
        OSError: if it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        with temporary.open("xb") as file:
            hold(file.fileno())
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def take_place(new: Path, folder: Path) -> None:
    """Give a new folder its name, which nothing has, or an empty folder.

    Raises:
        OSError: if something has it.
    """
    if os.name != "posix" and folder.is_dir():
        folder.rmdir()
    new.rename(folder)


@contextmanager
def new_folder(folder: Path, place: Callable[[Path, Path], None] = take_place) -> Iterator[Path]:
    """A folder under a temporary name beside `folder`, to be filled; at the end of the block it takes its place, on any
    error it is gone. What earlier tries left that were killed is removed.

    Raises:
        OSError: if it cannot be made or placed.
    """
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    clear_beside(folder)
    new = temporary_beside(folder)
    try:
        new.mkdir()
        with held(new):
            yield new
            (new / HELD).unlink()
            place(new, folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    _sync_folder(folder.parent)


def probe(folder: Path) -> None:
    """Make the folder, and see that files in it can be written.

    Raises:
        OSError: if not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(folder / "probe")
    try:
        with temporary.open("xb") as file:
            hold(file.fileno())
            file.write(b"poisonbench")
    finally:
        temporary.unlink(missing_ok=True)


def temporary_beside(path: Path) -> Path:
    """A new temporary name in the same folder; see leftovers.TEMPORARY."""
    return path.with_name(f".{path.name[:80]}.{os.getpid()}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")


def _sync_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut; Windows cannot open a folder and needs no such thing."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
