"""Who still writes: a file that is being written is locked, and the operating system unlocks it when its process ends,
however that ends and on whatever machine."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl

GRACE_S = 10.0
"""Younger files are left alone: between two steps of their writer they may be unlocked."""

UNPROVEN_S = 86_400.0
"""The same where there are no locks, such as on some network disks."""

HELD = ".held"
"""In a folder that is being written: the file whose lock stands for the folder."""


def hold(descriptor: int) -> None:
    """Lock an open file for as long as it is open; without effect where there are no locks."""
    if sys.platform != "win32":
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Lock a folder that is being written."""
    with (folder / HELD).open("xb") as file:
        hold(file.fileno())
        yield


def abandoned(path: Path) -> bool:
    """Whether nobody writes a temporary file or folder any more: it is not young, and nobody holds it."""
    try:
        if time.time() - path.lstat().st_mtime < GRACE_S:
            return False
        holder = path / HELD if path.is_dir() else path
        return not holder.exists() or _is_free(holder)
    except OSError:
        return False  # gone meanwhile, or not ours to look at


def _is_free(path: Path) -> bool:
    if sys.platform == "win32":  # there, what is open cannot be removed
        return time.time() - path.stat().st_mtime > UNPROVEN_S
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return time.time() - path.stat().st_mtime > UNPROVEN_S
    finally:
        os.close(descriptor)
    return True
