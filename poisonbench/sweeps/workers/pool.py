"""Cells on Ray's workers: one process each, on this machine or on many; see sweeps' Pool."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

import ray
import ray.exceptions
import torch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from poisonbench.data.base import DataOptions, data_files, default_cache_dir, prepare, silent
from poisonbench.errors import MethodError, OutOfMemoryError, PoisonbenchError, StageTimeoutError
from poisonbench.experiment.cell import Cell
from poisonbench.experiment.runner import Outcome, Runner, play, unfinished
from poisonbench.problem.samples import Dataset
from poisonbench.process.allocator import keep_freed_blocks
from poisonbench.stages.cache import StageCache
from poisonbench.stages.stage import Deadline, Progress
from poisonbench.sweeps.plan import Watch
from poisonbench.sweeps.workers.executor import RayExecutor, Share
from poisonbench.sweeps.workers.remote_store import RemoteProgress, RemoteStore
from poisonbench.sweeps.workers.store_server import StoreServer

RETRIES = 3
"""How often a cell is tried again after its worker or its machine died."""

GRACE_S = 60.0
"""A worker that is this long past its cell's deadline hangs, and is stopped."""

_POLL_S = 0.25


@dataclass(frozen=True)
class Setup:
    """The settings that all workers share.

    Attributes:
        data: where datasets come from; each machine looks for itself.
        device: cpu or cuda.
        timeout: seconds a cell may take.
        share: what of the cluster a worker takes.
        node: id of the driver's machine, where checkpoints lie beside the store.
    """

    data: DataOptions
    device: str
    timeout: float | None
    share: Share
    node: str


@dataclass
class _Attempt:
    """One attempt to run a cell on a worker."""

    cell: Cell
    owner: str
    number: int
    progress: Progress
    started: float | None = None
    task: str = ""
    hangs: bool = False


@dataclass(frozen=True)
class RayPool:
    """The workers of a Ray cluster. This process alone decides what runs and adds records to the store.

    Attributes:
        runner: store, data, device, timeout.
        share: what a worker takes of the cluster.
        server: the actor that opens the store for them.
        most: workers at a time, or None for as many as the cluster holds.
    """

    runner: Runner
    share: Share
    server: Any
    most: int | None = None
    _names: Iterator[int] = field(default_factory=itertools.count)

    def run(self, cells: Sequence[Cell], watch: Watch) -> Iterator[Outcome]:
        """See Pool."""
        runner, here = self.runner, ray.get_runtime_context().get_node_id()
        setup = Setup(replace(runner.data, report=silent), runner.device.type, runner.timeout, self.share, here)
        server = self.server
        waiting = deque((cell, 0) for cell in cells)
        running: dict[ray.ObjectRef[Any], _Attempt] = {}
        try:
            while waiting or running:
                while waiting and len(running) < self.room:
                    attempt = self._next(waiting, running, watch)
                    start = ray.remote(_run_cell).options(**self.share.options(), max_retries=0)
                    running[start.remote(attempt.cell, attempt.owner, server, setup)] = attempt
                ready, _ = ray.wait(list(running), timeout=_POLL_S)
                self._listen(server, running)
                for ref in ready:
                    attempt = running.pop(ref)
                    outcome = self._outcome(ref, attempt)
                    ray.get(server.release_all.remote(attempt.owner))
                    if outcome is None:
                        waiting.appendleft((attempt.cell, attempt.number + 1))
                        continue
                    runner.store.add(outcome.record)
                    watch.ended(attempt.cell, outcome)
                    yield outcome
        finally:
            for ref in running:
                ray.cancel(ref, force=True)

    @property
    def room(self) -> int:
        """How many workers may run at a time."""
        held = max(1, self.share.fits(ray.cluster_resources()))
        return held if self.most is None else min(held, self.most)

    def _next(
        self, waiting: deque[tuple[Cell, int]], running: dict[ray.ObjectRef[Any], _Attempt], watch: Watch
    ) -> _Attempt:
        """The first cell that crafts a poison set nobody is crafting; else the first."""
        busy = {attempt.cell.crafting_hash() for attempt in running.values()}
        index = next((i for i, (cell, _) in enumerate(waiting) if cell.crafting_hash() not in busy), 0)
        cell, number = waiting[index]
        del waiting[index]
        return _Attempt(cell, f"{cell.hash()} {next(self._names)}", number, watch.began(cell))

    def _listen(self, server: Any, running: dict[ray.ObjectRef[Any], _Attempt]) -> None:
        """Pass on how far the workers are, and stop those that hang."""
        reports = ray.get(server.progress.remote())
        for ref, attempt in running.items():
            if attempt.owner not in reports:
                continue
            attempt.started = attempt.started or time.monotonic()
            task, done, total = reports[attempt.owner]
            if task != attempt.task:
                attempt.progress.end(attempt.task)
                attempt.progress.begin(task, total, done)
                attempt.task = task
            attempt.progress.advance(task, done, {})
            limit = self.runner.timeout
            if limit is not None and time.monotonic() - attempt.started > limit + GRACE_S:
                attempt.hangs = True
                ray.cancel(ref, force=True)

    def _outcome(self, ref: ray.ObjectRef[Any], attempt: _Attempt) -> Outcome | None:
        """The outcome of an attempt; None if it is to be tried again."""
        try:
            outcome: Outcome = ray.get(ref)
            return outcome
        except ray.exceptions.RayTaskError as fault:
            if isinstance(fault.cause, PoisonbenchError):
                raise fault.cause from fault
            raise
        except ray.exceptions.RayError as fault:  # the process or the machine is gone
            error: PoisonbenchError
            if attempt.hangs:
                error = StageTimeoutError(f"stopped {GRACE_S:g} s past its deadline, since it did not stop itself.")
            elif attempt.number < RETRIES:
                return None
            elif isinstance(fault, ray.exceptions.OutOfMemoryError):
                error = OutOfMemoryError("its machine ran out of memory.")
            else:
                error = MethodError(f"its worker died {RETRIES + 1} times ({type(fault).__name__}).")
            error.__cause__ = fault
            cell, runner = attempt.cell, self.runner
            return unfinished(cell, runner.dataset(cell), runner.device, error, datetime.now(UTC))


@contextmanager
def start_pool(runner: Runner, share: Share, most: int | None) -> Iterator[RayPool]:
    """A pool and its server, for as long as this is open; both load their libraries while the caller goes on."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    server = ray.remote(StoreServer).options(num_cpus=0, scheduling_strategy=here).remote(runner.store.location.name)
    pool = RayPool(runner, share, server, most)
    load = ray.remote(_load).options(**share.options(), max_retries=0)
    loading = [load.remote() for _ in range(pool.room)]
    try:
        yield pool
    finally:
        for ref in loading:
            ray.cancel(ref)
        ray.kill(server)


def _load() -> None:
    """Do nothing, on a worker: whoever can call this has imported what `_run_cell` needs."""


def _run_cell(cell: Cell, owner: str, server: Any, setup: Setup) -> Outcome:
    """Run a cell, on a worker."""
    keep_freed_blocks()
    torch.set_num_threads(setup.share.threads)

    def ask(method: str, *arguments: Any) -> Any:
        try:
            return ray.get(getattr(server, method).remote(*arguments))
        except ray.exceptions.RayTaskError as fault:
            if isinstance(fault.cause, PoisonbenchError):
                raise fault.cause from fault
            raise

    def tell(method: str, *arguments: Any) -> None:
        getattr(server, method).remote(*arguments)

    progress = RemoteProgress(tell, owner)
    progress.begin("start", None, 0)
    here = ray.get_runtime_context().get_node_id()
    home = ask("home") if here == setup.node else default_cache_dir().parent / "worker"
    stages = StageCache(
        RemoteStore(ask, owner, home),
        torch.device(setup.device),
        progress,
        Deadline.after(setup.timeout),
        RayExecutor(setup.share),
        data_files(setup.data),
    )
    return play(cell, _dataset(cell.settings.protocol.dataset, setup.data), stages)


@cache
def _dataset(name: str, data: DataOptions) -> Dataset:
    return prepare(name, data)
