"""The one process of a cluster that opens the store; workers reach it by message."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from poisonbench.errors import StoreError
from poisonbench.store.artifacts import Kind
from poisonbench.store.connections import BUSY_SECONDS
from poisonbench.store.database import Store
from poisonbench.store.record_origin import Artifact
from poisonbench.sweeps.workers.reports import Report


class StoreServer:
    """Keeps finished stages for workers, and says which of them computes what. It lives on the driver's machine.

    A stage's lock has an owner, an attempt to run a cell. The driver releases those of a worker that died, so that no
    lock outlives its owner; towards other runs on this machine each lock is also a file lock.
    """

    def __init__(self, store: str | None) -> None:
        self._store = Store.open(store, BUSY_SECONDS)
        self._owners: dict[str, str] = {}
        self._locks: dict[str, ExitStack] = {}
        self._reports: dict[str, Report] = {}

    def home(self) -> Path:
        """The store's own folder."""
        return self._store.home

    def stage(self, key: str) -> dict[str, Any] | None:
        """See Store."""
        return self._store.stage(key)

    def put_stage(self, key: str, kind: str, document: dict[str, Any]) -> None:
        """See Store."""
        self._store.put_stage(key, kind, document)

    def has(self, sha256: str) -> bool:
        """See Artifacts."""
        return self._store.artifacts.has(sha256)

    def get_bytes(self, sha256: str) -> bytes:
        """See Artifacts."""
        return self._store.artifacts.get_bytes(sha256)

    def put_bytes(self, data: bytes, kind: Kind) -> Artifact:
        """See Artifacts."""
        return self._store.artifacts.put_bytes(data, kind)

    def acquire(self, key: str, owner: str) -> bool:
        """Take the stage's lock for `owner` if it is free; whether `owner` holds it now."""
        if key in self._owners:
            return self._owners[key] == owner
        stack = ExitStack()
        try:
            stack.enter_context(self._store.lock(key, timeout=0))
        except StoreError:
            return False
        self._owners[key], self._locks[key] = owner, stack
        return True

    def release(self, key: str, owner: str) -> None:
        """Release the stage's lock, if `owner` holds it."""
        if self._owners.get(key) == owner:
            del self._owners[key]
            self._locks.pop(key).close()

    def release_all(self, owner: str) -> None:
        """Release every lock of an owner that is no more, and forget its report."""
        self._reports.pop(owner, None)
        for key in [key for key, holder in self._owners.items() if holder == owner]:
            self.release(key, owner)

    def report(self, owner: str, task: str, done: int, total: int | None) -> None:
        """Note how far `owner` is."""
        self._reports[owner] = task, done, total

    def progress(self) -> dict[str, Report]:
        """The latest report of each owner."""
        return dict(self._reports)
