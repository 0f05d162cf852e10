"""A worker's store: finished stages come from the server and go to it; checkpoints stay on the worker's machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from poisonbench.store.artifacts import Kind, from_bytes, to_bytes
from poisonbench.store.record_origin import Artifact

Ask = Callable[..., Any]
"""ask("method", …): call a method of the server and wait for what it returns."""

_POLL_S = 0.1


@dataclass(frozen=True)
class RemoteArtifacts:
    """The tensors of a store that another process has open; see store.artifacts.Artifacts.

    Attributes:
        ask: reaches the server.
    """

    ask: Ask

    def put(self, tensors: Mapping[str, Tensor], kind: Kind) -> Artifact:
        """Keep the tensors, and return where."""
        artifact: Artifact = self.ask("put_bytes", to_bytes(tensors), kind)
        return artifact

    def get(self, sha256: str) -> dict[str, Tensor]:
        """Return the tensors of that hash."""
        return from_bytes(self.ask("get_bytes", sha256), sha256)

    def has(self, sha256: str) -> bool:
        """Whether the tensors of that hash are there."""
        return bool(self.ask("has", sha256))


@dataclass(frozen=True)
class RemoteStore:
    """A store that another process has open; see stages.cache.StageStore.

    Attributes:
        ask: reaches the server.
        owner: the attempt that this worker makes; names the holder of locks.
        home: a folder of this machine, for checkpoints.
    """

    ask: Ask
    owner: str
    home: Path

    @property
    def artifacts(self) -> RemoteArtifacts:
        """The store of tensors."""
        return RemoteArtifacts(self.ask)

    def stage(self, key: str) -> dict[str, Any] | None:
        """See Store."""
        found: dict[str, Any] | None = self.ask("stage", key)
        return found

    def put_stage(self, key: str, kind: str, document: dict[str, Any]) -> None:
        """See Store."""
        self.ask("put_stage", key, kind, document)

    @contextmanager
    def lock(self, key: str, *, waiting: Callable[[], None]) -> Iterator[None]:
        """See Store."""
        if not self.ask("acquire", key, self.owner):
            waiting()
            while not self.ask("acquire", key, self.owner):
                time.sleep(_POLL_S)
        try:
            yield
        finally:
            self.ask("release", key, self.owner)
