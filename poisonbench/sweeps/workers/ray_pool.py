"""Cells on the workers of a Ray cluster, on one machine or on many; see sweeps' Pool."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import ray
import ray.exceptions
import torch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from poisonbench.data.base import DataFiles, DataOptions, data_files, default_cache_dir, prepare, silent
from poisonbench.errors import MethodError, OutOfMemoryError, PoisonbenchError
from poisonbench.experiment.cell import Cell
from poisonbench.experiment.runner import Outcome, Runner, play
from poisonbench.guard.process_state import process_kept
from poisonbench.plugins import trial
from poisonbench.plugins.fresh import any_imported
from poisonbench.problem.samples import Dataset
from poisonbench.process.allocator import keep_freed_blocks
from poisonbench.stages.cache import StageCache
from poisonbench.stages.stage import Deadline
from poisonbench.sweeps.workers.cluster import Head
from poisonbench.sweeps.workers.executor import RayExecutor, Share
from poisonbench.sweeps.workers.listener import overdue
from poisonbench.sweeps.workers.remote_store import RemoteStore
from poisonbench.sweeps.workers.reports import RemoteProgress, Report
from poisonbench.sweeps.workers.store_server import StoreServer
from poisonbench.sweeps.workers.worker_pool import RETRIES, Attempt, WorkerPool, travelling

_POLL_S = 0.25


@dataclass(frozen=True)
class Setup:
    """The settings that all workers share.

    Attributes:
        data: where datasets come from; each machine looks for itself.
        device: cpu or cuda.
        timeout: seconds a cell may take.
        share: what of the cluster a worker takes.
        files: the files of datasets.
        apart: whether each cell has a process of its own, since a plugin takes part.
        node: id of the driver's machine, where checkpoints lie beside the store.
    """

    data: DataOptions
    device: str
    timeout: float | None
    share: Share
    files: DataFiles
    apart: bool
    node: str


@dataclass(frozen=True)
class RayPool(WorkerPool[Any]):
    """The workers of a Ray cluster.

    Attributes:
        runner: store, data, device, timeout.
        share: what a worker takes of the cluster.
        server: the actor that opens the store for them.
        head: of the cluster.
        files: the files of datasets.
        apart: whether each cell has a process of its own, since a plugin takes part.
        most: workers at a time, or None for as many as the cluster holds.
    """

    runner: Runner
    share: Share
    server: Any
    head: Head
    files: DataFiles
    apart: bool
    most: int | None = None

    @property
    def room(self) -> int:
        """How many workers may run at a time."""
        self.head.wait()
        held = max(1, self.share.fits(ray.cluster_resources()))
        return held if self.most is None else min(held, self.most)

    def start(self, attempt: Attempt) -> ray.ObjectRef[Any]:
        """See WorkerPool."""
        runner, here = self.runner, ray.get_runtime_context().get_node_id()
        data, device = replace(runner.data, report=silent), runner.device.type
        setup = Setup(data, device, runner.timeout, self.share, self.files, self.apart, here)
        run = ray.remote(max_calls=int(self.apart))(_run_cell).options(**self.share.options(), max_retries=0)
        return run.remote(attempt.cell, attempt.owner, self.server, setup)

    def wait(self, running: Collection[ray.ObjectRef[Any]]) -> Iterable[ray.ObjectRef[Any]]:
        """See WorkerPool."""
        self.head.wait()
        ready: list[ray.ObjectRef[Any]] = ray.wait(list(running), timeout=_POLL_S)[0]
        return ready

    def reports(self, running: Iterable[Attempt]) -> Mapping[str, Report]:
        """See WorkerPool."""
        found: Mapping[str, Report] = ray.get(self.server.progress.remote())
        return found

    def stop(self, handle: ray.ObjectRef[Any]) -> None:
        """See WorkerPool."""
        ray.cancel(handle, force=True)

    def outcome(self, handle: ray.ObjectRef[Any], attempt: Attempt, hung: bool) -> Outcome | None:
        """See WorkerPool."""
        try:
            outcome: Outcome = ray.get(handle)
            return outcome
        except ray.exceptions.RayError as fault:  # the process or the machine is gone, or does not reach the server
            if isinstance(fault, ray.exceptions.RayTaskError):
                if isinstance(fault.cause, PoisonbenchError):
                    raise fault.cause from fault
                if not isinstance(fault.cause, ray.exceptions.RayError):
                    raise
            error: PoisonbenchError
            if hung:
                error = overdue()
            elif attempt.number < RETRIES:
                return None
            elif isinstance(fault, ray.exceptions.OutOfMemoryError):
                error = OutOfMemoryError("its machine ran out of memory.")
            else:
                error = MethodError(f"its worker died {RETRIES + 1} times ({type(fault).__name__}).")
            return self.lost(attempt, error, fault)
        finally:
            self.server.release_all.remote(attempt.owner)


def start_pool(runner: Runner, share: Share, head: Head, most: int | None) -> RayPool:
    """A pool and its server, which end with the connection to the cluster; both load their libraries while the caller
    goes on."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    server = ray.remote(StoreServer).options(num_cpus=0, scheduling_strategy=here).remote(runner.store.location.name)
    plugins = any_imported()
    pool = RayPool(runner, share, server, head, data_files(runner.data, plugins=plugins), plugins, most)
    load = ray.remote(_load).options(**share.options(), max_retries=0)
    for _ in range(pool.room):
        load.remote()
    return pool


def _load() -> None:
    """Do nothing, on a worker: whoever can call this has imported what `_run_cell` needs."""


def _run_cell(cell: Cell, owner: str, server: Any, setup: Setup) -> Outcome:
    """Run a cell, on a worker."""
    os.environ[trial.VARIABLE] = "1"
    keep_freed_blocks()
    torch.set_num_threads(setup.share.threads)

    def ask(method: str, *arguments: Any) -> Any:
        try:
            return ray.get(getattr(server, method).remote(*arguments))
        except ray.exceptions.RayTaskError as fault:
            if isinstance(fault.cause, PoisonbenchError):
                raise fault.cause from fault
            raise

    def tell(owner: str, task: str, done: int, total: int | None) -> None:
        server.report.remote(owner, task, done, total)

    progress = RemoteProgress(tell, owner)
    progress.begin("start", None, 0)
    here = ray.get_runtime_context().get_node_id()
    home = ask("home") if here == setup.node else default_cache_dir().parent / "worker"
    stages = StageCache(
        RemoteStore(ask, owner, home),
        torch.device(setup.device),
        progress,
        Deadline.after(setup.timeout),
        RayExecutor(setup.share, setup.apart),
        setup.files,
    )
    return travelling(play(cell, _dataset(cell.settings.protocol.dataset, setup.data), stages))


@cache
def _dataset(name: str, data: DataOptions) -> Dataset:
    with process_kept():
        return prepare(name, data)
