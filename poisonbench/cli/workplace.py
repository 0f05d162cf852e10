"""Where and how cells are run: store, data, device, threads, workers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from poisonbench.cli.options import Data, Machine, Workers
from poisonbench.errors import ConfigError
from poisonbench.experiment.runner import Runner
from poisonbench.process.allocator import keep_freed_blocks
from poisonbench.process.environment import choose_device
from poisonbench.store.database import Store
from poisonbench.sweeps import plan as sweep


@dataclass(frozen=True)
class Workplace:
    """As asked for on the command line.

    Attributes:
        store: folder, file or URL; None is the user's data folder.
        data: where datasets come from.
        machine: what a process may use.
        workers: processes beside this one; by default there are none.
    """

    store: str | None
    data: Data
    machine: Machine
    workers: Workers = field(default_factory=Workers)

    def device(self) -> torch.device:
        """Set up this process, threads and allocator; gives the device.

        Raises:
            UsageError: for a device that is not here.
        """
        keep_freed_blocks()
        if self.machine.threads:
            torch.set_num_threads(self.machine.threads)
        return choose_device(self.machine.device)

    @contextmanager
    def runner(self, force: bool = False) -> Iterator[Runner]:
        """A runner over the store, which is open as long as this is.

        Raises:
            UsageError, StoreError.
        """
        device = self.device()
        with Store.open(self.store) as store:
            yield Runner(store, self.data.options(), device, timeout=self.machine.timeout, force=force)

    @property
    def parallel(self) -> bool:
        """Whether cells run on Ray's workers."""
        return self.workers.ray is not None or self.workers.jobs not in (None, 1)

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
        asked, cuda = self.workers, runner.device.type == "cuda"
        jobs = asked.jobs or 1
        threads = self.machine.threads or max(1, torch.get_num_threads() // (jobs if asked.ray is None else 1))
        gpus = (1.0 if asked.gpus is None else asked.gpus) if cuda else 0.0
        machines = cluster(asked.ray, jobs * threads, torch.cuda.device_count() if cuda else 0)
        with machines, start_pool(runner, Share(threads, gpus), asked.jobs) as pool:
            yield pool
