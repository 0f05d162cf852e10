"""Where and how cells are run: store, data, device, threads, workers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from poisonbench.allocator import keep_freed_blocks
from poisonbench.data.base import DataOptions, default_cache_dir
from poisonbench.environment import choose_device
from poisonbench.runner import Runner
from poisonbench.store.database import Store
from poisonbench.terminal import note


@dataclass(frozen=True)
class Workplace:
    """As asked for on the command line.

    Attributes:
        store: folder, file or URL; None is the user's data folder.
        data_dir: folder with the datasets' own files.
        offline: open no connection.
        device: auto, cpu, cuda or cuda:N.
        threads: CPU threads of a process; None is torch's choice.
        timeout: seconds a cell may take.
    """

    store: str | None
    data_dir: Path | None
    offline: bool
    device: str
    threads: int | None
    timeout: float | None

    @property
    def data(self) -> DataOptions:
        """Where datasets come from."""
        return DataOptions(default_cache_dir(), self.data_dir, self.offline, note)

    @contextmanager
    def runner(self, force: bool = False) -> Iterator[Runner]:
        """A runner over the store, which is open as long as this is.

        Raises:
            UsageError, StoreError.
        """
        keep_freed_blocks()
        if self.threads:
            torch.set_num_threads(self.threads)
        device = choose_device(self.device)
        with Store.open(self.store) as store:
            yield Runner(store, self.data, device, timeout=self.timeout, force=force)
