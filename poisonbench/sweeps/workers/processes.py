"""Built-in cells on processes of this machine, each of which plays many; see sweeps' Pool.

Each opens the store for itself. Pebble watches over them: one that dies or hangs takes its own cell along, no other.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, CancelledError, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache

import torch
from pebble import ProcessExpired, ProcessFuture, ProcessPool

from poisonbench.data.base import DataOptions, data_files, prepare, silent
from poisonbench.errors import MethodError, PoisonbenchError
from poisonbench.experiment.cell import Cell
from poisonbench.experiment.runner import Outcome, Runner, play
from poisonbench.files.scratch import scratch_folder
from poisonbench.guard.process_state import process_kept
from poisonbench.problem.samples import Dataset
from poisonbench.process.allocator import keep_freed_blocks
from poisonbench.process.fork_server import worker_context
from poisonbench.stages.cache import StageCache
from poisonbench.stages.stage import Deadline
from poisonbench.store.connections import BUSY_SECONDS
from poisonbench.store.database import Store
from poisonbench.sweeps.workers.listener import overdue
from poisonbench.sweeps.workers.reports import RemoteProgress, Report, ReportFolder
from poisonbench.sweeps.workers.worker_pool import RETRIES, Attempt, WorkerPool, travelling

_POLL_S = 0.1


@dataclass(frozen=True)
class Setup:
    """The settings that all workers share.

    Attributes:
        store: what opens it.
        data: where datasets come from.
        timeout: seconds a cell may take.
        threads: CPU threads of a worker.
        reports: where they say how far they are.
    """

    store: str
    data: DataOptions
    timeout: float | None
    threads: int
    reports: ReportFolder


@dataclass(frozen=True)
class Processes(WorkerPool[ProcessFuture[Outcome]]):
    """Worker processes of this machine.

    Attributes:
        runner: store, data, device, timeout.
        pool: the processes.
        jobs: how many there are.
        devices: what they share out evenly.
        setup: what all have.
    """

    runner: Runner
    pool: ProcessPool
    jobs: int
    devices: tuple[str, ...]
    setup: Setup
    _used: dict[ProcessFuture[Outcome], str] = field(default_factory=dict)

    @property
    def room(self) -> int:
        """See WorkerPool."""
        return self.jobs

    def start(self, attempt: Attempt) -> ProcessFuture[Outcome]:
        """See WorkerPool."""
        busy = Counter(device for future, device in self._used.items() if not future.done())
        device = min(self.devices, key=lambda device: busy[device])
        future = self.pool.schedule(_run_cell, args=(attempt.cell, attempt.owner, device, self.setup))
        self._used[future] = device
        return future

    def wait(self, running: Collection[ProcessFuture[Outcome]]) -> Iterable[ProcessFuture[Outcome]]:
        """See WorkerPool."""
        wait(running, timeout=_POLL_S, return_when=FIRST_COMPLETED)
        return [future for future in running if future.done()]

    def reports(self, running: Iterable[Attempt]) -> Mapping[str, Report]:
        """See WorkerPool."""
        told = {attempt.owner: self.setup.reports.read(attempt.owner) for attempt in running}
        return {owner: report for owner, report in told.items() if report is not None}

    def stop(self, handle: ProcessFuture[Outcome]) -> None:
        """See WorkerPool."""
        handle.cancel()

    def outcome(self, handle: ProcessFuture[Outcome], attempt: Attempt, hung: bool) -> Outcome | None:
        """See WorkerPool."""
        try:
            return handle.result()
        except (CancelledError, ProcessExpired) as fault:
            error: PoisonbenchError
            if hung:
                error = overdue()
            elif attempt.number < RETRIES:
                return None
            else:
                code = getattr(fault, "exitcode", None)
                reason = f"its worker died {RETRIES + 1} times, exit code {code}. Fewer --jobs take less memory."
                error = MethodError(reason)
            return self.lost(attempt, error, fault)


@contextmanager
def start_processes(runner: Runner, jobs: int, threads: int) -> Iterator[Processes]:
    """A pool of processes, for as long as this is open; they load their libraries while the caller goes on."""
    with scratch_folder() as folder:
        data, reports = replace(runner.data, report=silent), ReportFolder(folder)
        setup = Setup(runner.store.location.name, data, runner.timeout, threads, reports)
        pool = ProcessPool(jobs, initializer=_begin, initargs=(threads,), context=worker_context())
        pool.schedule(_load)  # all of them start with the first task
        try:
            yield Processes(runner, pool, jobs, devices(runner.device), setup)
        finally:
            pool.stop()
            pool.join()


def devices(device: torch.device) -> tuple[str, ...]:
    """The devices that workers share out: this one, or every one of its kind if none of them was named."""
    if str(device) != "cuda":
        return (str(device),)
    return tuple(f"cuda:{index}" for index in range(torch.cuda.device_count()))


def _load() -> None:
    """Do nothing, on a worker."""


def _begin(threads: int) -> None:
    """Set a worker up; it ends with the process that started it."""
    keep_freed_blocks()
    torch.set_num_threads(threads)
    end_with_parent()


def end_with_parent() -> None:
    """From here on, end this process with the one that started it, however that ends."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _run_cell(cell: Cell, owner: str, device: str, setup: Setup) -> Outcome:
    """Run a cell, on a worker."""
    torch.set_num_threads(setup.threads)
    stages = StageCache(
        _store(setup.store),
        torch.device(device),
        RemoteProgress(setup.reports.tell, owner),
        Deadline.after(setup.timeout),
        data=data_files(setup.data, plugins=False),
    )
    return travelling(play(cell, _dataset(cell.settings.protocol.dataset, setup.data), stages))


@cache
def _store(name: str) -> Store:
    return Store.open(name, BUSY_SECONDS)  # it was there when the workers were started


@cache
def _dataset(name: str, data: DataOptions) -> Dataset:
    with process_kept():
        return prepare(name, data)
