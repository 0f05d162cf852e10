"""Where and how cells are run: store, data, device, threads, workers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from poisonbench.data.base import DataOptions, default_cache_dir
from poisonbench.errors import ConfigError
from poisonbench.experiment.runner import Runner
from poisonbench.process.allocator import keep_freed_blocks
from poisonbench.process.environment import choose_device
from poisonbench.store.database import Store
from poisonbench.sweeps import plan as sweep
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
        jobs: workers at a time; None is this process alone, or with `ray` as many as the cluster holds.
        ray: address of a Ray cluster, or None.
        gpus: GPUs of a worker, or a part of one; None is a whole one where there are any.
    """

    store: str | None
    data_dir: Path | None
    offline: bool
    device: str
    threads: int | None
    timeout: float | None
    jobs: int | None = None
    ray: str | None = None
    gpus: float | None = None

    @property
    def data(self) -> DataOptions:
        """Where datasets come from."""
        return DataOptions(default_cache_dir(), self.data_dir, self.offline, note)

    def machine(self) -> torch.device:
        """Set up this process, threads and allocator; gives the device.

        Raises:
            UsageError: for a device that is not here.
        """
        keep_freed_blocks()
        if self.threads:
            torch.set_num_threads(self.threads)
        return choose_device(self.device)

    @contextmanager
    def runner(self, force: bool = False) -> Iterator[Runner]:
        """A runner over the store, which is open as long as this is.

        Raises:
            UsageError, StoreError.
        """
        device = self.machine()
        with Store.open(self.store) as store:
            yield Runner(store, self.data, device, timeout=self.timeout, force=force)

    @property
    def parallel(self) -> bool:
        """Whether cells run on Ray's workers."""
        return self.ray is not None or self.jobs not in (None, 1)

    @contextmanager
    def pool(self, runner: Runner) -> Iterator[sweep.Pool]:
        """Who works off cells, as long as this is open: this process, or Ray's workers.

        Raises:
            ConfigError: if Ray is needed and not installed, or its cluster is not there.
        """
        if not self.parallel:
            yield sweep.Alone(runner)
            return
        try:
            from poisonbench.sweeps.workers.cluster import cluster
            from poisonbench.sweeps.workers.executor import Share
            from poisonbench.sweeps.workers.pool import start_pool
        except ImportError as error:
            if error.name != "ray":
                raise
            raise ConfigError("--jobs and --ray need Ray. Install it with: pip install 'poisonbench[ray]'") from error
        jobs, cuda = self.jobs or 1, runner.device.type == "cuda"
        threads = self.threads or max(1, torch.get_num_threads() // (jobs if self.ray is None else 1))
        gpus = (1.0 if self.gpus is None else self.gpus) if cuda else 0.0
        machines = cluster(self.ray, jobs * threads, torch.cuda.device_count() if cuda else 0)
        with machines, start_pool(runner, Share(threads, gpus), self.jobs) as pool:
            yield pool
