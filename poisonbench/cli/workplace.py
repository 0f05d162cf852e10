"""Where and how cells are run: store, data, device, threads, workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import psutil
import torch

from poisonbench.cli.options import Data, Machine, Workers
from poisonbench.errors import ConfigError
from poisonbench.experiment.cell import Cell
from poisonbench.experiment.runner import Runner, step_work
from poisonbench.plugins.fresh import any_imported
from poisonbench.process.allocator import keep_freed_blocks
from poisonbench.process.environment import choose_device
from poisonbench.process.threads import is_small
from poisonbench.store.database import Store
from poisonbench.sweeps import plan as sweep
from poisonbench.sweeps.slurm import Options, SlurmArray
from poisonbench.sweeps.workers.ray_environment import quiet_ray
from poisonbench.terminal.consoles import note

WORKER_BYTES = 1 << 30
"""Memory that a worker process on a small problem is given: PyTorch, a dataset, a model."""


@dataclass(frozen=True)
class Array:
    """An array job of Slurm, as asked for on the command line.

    Attributes:
        cells: of the whole sweep.
        command: arguments that run it.
        options: of its job.
    """

    cells: Sequence[Cell]
    command: Sequence[str]
    options: Options

    def pool(self, runner: Runner) -> SlurmArray:
        """Who works off its cells."""
        return SlurmArray(runner, self.cells, self.command, self.options, note)


@dataclass(frozen=True)
class Workplace:
    """As asked for on the command line.

    Attributes:
        store: folder, file or URL; None is the user's data folder.
        data: where datasets come from.
        machine: what a process may use.
        workers: processes beside this one; by default as many as small problems fill.
        array: what computes in this process's place; its tasks have machine and workers.
    """

    store: str | None
    data: Data
    machine: Machine
    workers: Workers = field(default_factory=Workers)
    array: Array | None = None

    def device(self) -> torch.device:
        """Set up this process, threads and allocator; gives the device.

        Raises:
            UsageError: for a device that is not here.
        """
        keep_freed_blocks()
        if self.array is not None:  # this machine may be one without a GPU
            return torch.device("cpu")
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

    def jobs(self, runner: Runner, cells: Sequence[Cell]) -> int:
        """Worker processes for those cells: as asked, or one for each allowed thread where all cells are small ones,
        which take one thread each; 1 is this process alone."""
        if self.workers.jobs is not None:
            return self.workers.jobs
        small = runner.device.type == "cpu" and all(is_small(step_work(cell, runner.dataset(cell))) for cell in cells)
        room = max(1, psutil.virtual_memory().available // WORKER_BYTES)
        return max(1, min(len(cells), torch.get_num_threads(), room)) if small else 1

    @contextmanager
    def pool(self, runner: Runner, cells: Sequence[Cell]) -> Iterator[sweep.Pool]:
        """Who works off these cells, as long as this is open: this process, others beside it, or a cluster's. If code
        of a plugin has run in this process, each cell gets one of its own.

        Raises:
            ConfigError: if Ray is needed and not installed, its cluster is not there, or GPUs are shared without one.
        """
        if self.workers.gpus is not None and self.workers.ray is None:
            raise ConfigError("--gpus is a share of a cluster's machines; it needs --ray.")
        if self.array is not None:
            yield self.array.pool(runner)
            return
        if self.workers.ray is not None:
            with self._cluster(self.workers.ray, runner) as pool:
                yield pool
            return
        due = [cell for cell in cells if runner.known(cell) is None]
        jobs = self.jobs(runner, due)
        threads = max(1, torch.get_num_threads() // jobs)
        if any_imported() and due:
            from poisonbench.sweeps.workers.solitary import start_solitary

            with start_solitary(runner, jobs, threads) as alone:
                yield alone
        elif jobs == 1:
            yield sweep.Alone(runner)
        else:
            from poisonbench.sweeps.workers.processes import start_processes

            with start_processes(runner, jobs, threads) as pool:
                yield pool

    @contextmanager
    def _cluster(self, address: str, runner: Runner) -> Iterator[sweep.Pool]:
        quiet_ray()
        try:
            from poisonbench.sweeps.workers.cluster import cluster
            from poisonbench.sweeps.workers.executor import Share
            from poisonbench.sweeps.workers.ray_pool import start_pool
        except ImportError as error:
            if error.name != "ray":
                raise
            raise ConfigError("--ray needs Ray. Install it with: pip install 'poisonbench[ray]'") from error
        gpus = self.workers.gpus or 1.0
        share = Share(torch.get_num_threads(), gpus if runner.device.type == "cuda" else 0.0)
        with cluster(address) as head:
            yield start_pool(runner, share, head, self.workers.jobs)
