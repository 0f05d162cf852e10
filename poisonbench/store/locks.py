"""One process at a time for one key, among all that share a home folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from poisonbench.errors import StoreError


@contextmanager
def locked(folder: Path, key: str, timeout: float = -1, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the lock of `key`; the operating system releases it if the process is killed.

    Args:
        folder: where the lock files lie. They are left behind: to remove one is a race.
        key: anything; its hash names the file.
        timeout: seconds to wait, or −1 for as long as it takes.
        waiting: called once if another process holds it, before this one waits.
    Raises:
        StoreError: if the lock cannot be made, or was not free in time.
    """
    path = folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.lock"
    lock = FileLock(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if waiting is not None:
                waiting()
            lock.acquire(timeout=timeout)
    except Timeout:
        raise StoreError(f"{path} was not free within {timeout:g} s: another process works on {key[:80]!r}.") from None
    except (OSError, RuntimeError, NotImplementedError) as error:
        raise StoreError(f"Cannot lock {path}: {error}. Choose a writable store with --store PATH.") from error
    try:
        yield
    finally:
        lock.release()
