"""Each cell in a process that plays nothing else, as whenever a plugin takes part; see sweeps' Pool.

A plugin is arbitrary code: what it does to its process, on purpose or not, ends with the process, and no cell that is
built in ever shares one with it. It comes in late, after what is trained on clean rows alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from multiprocessing import connection
from multiprocessing.reduction import ForkingPickler
from typing import Any

from poisonbench.data.base import DataFiles, data_files, prepare, silent
from poisonbench.defenses.none import NoDefense
from poisonbench.errors import MethodError, PoisonbenchError
from poisonbench.experiment.cell import Cell
from poisonbench.experiment.runner import Outcome, Runner, play, pretrain
from poisonbench.files.scratch import scratch_folder
from poisonbench.plugins.child_process import Child
from poisonbench.plugins.registry import load
from poisonbench.sweeps.workers.listener import overdue
from poisonbench.sweeps.workers.own_process import OwnProcess, ended_by
from poisonbench.sweeps.workers.processes import devices
from poisonbench.sweeps.workers.reports import Report, ReportFolder
from poisonbench.sweeps.workers.worker_pool import RETRIES, Attempt, WorkerPool, travelling

_POLL_S = 0.1


@dataclass(frozen=True)
class Task:
    """What a process is to play, and how.

    Attributes:
        built_in: the cell without its plugins, whose clean model is trained first; None if none can be without them.
        cell: the whole cell, pickled apart: to unpickle it imports its plugins.
        given: what the process works with.
    """

    built_in: Cell | None
    cell: bytes
    given: OwnProcess


@dataclass(frozen=True)
class Solitary(WorkerPool[Child]):
    """A process of this machine for each cell.

    Attributes:
        runner: store, data, device, timeout.
        jobs: how many at a time.
        threads: CPU threads of each.
        devices: what they share out evenly.
        files: the files of datasets.
        folder: where they say how far they are.
    """

    runner: Runner
    jobs: int
    threads: int
    devices: tuple[str, ...]
    files: DataFiles
    folder: ReportFolder
    _used: dict[Child, str] = field(default_factory=dict)

    @property
    def room(self) -> int:
        """See WorkerPool."""
        return self.jobs

    def start(self, attempt: Attempt) -> Child:
        """See WorkerPool."""
        busy = Counter(self._used.values())
        device = min(self.devices, key=lambda device: busy[device])
        runner, cell = self.runner, attempt.cell
        given = OwnProcess(
            attempt.owner,
            device,
            self.threads,
            runner.timeout,
            runner.store.location.name,
            replace(runner.data, report=silent),
            self.files,
            self.folder,
        )
        task = Task(_built_in_part(cell), bytes(ForkingPickler.dumps(cell)), given)
        child = Child.start(_play, task)
        self._used[child] = device
        return child

    def wait(self, running: Collection[Child]) -> Iterable[Child]:
        """See WorkerPool."""
        connection.wait([sign for child in running for sign in (child.connection, child.process.sentinel)], _POLL_S)
        return [child for child in running if child.is_over()]

    def reports(self, running: Iterable[Attempt]) -> Mapping[str, Report]:
        """See WorkerPool."""
        told = {attempt.owner: self.folder.read(attempt.owner) for attempt in running}
        return {owner: report for owner, report in told.items() if report is not None}

    def stop(self, handle: Child) -> None:
        """See WorkerPool."""
        handle.process.kill()

    def outcome(self, handle: Child, attempt: Attempt, hung: bool) -> Outcome | None:
        """See WorkerPool."""
        del self._used[handle]
        ending = "" if handle.said else handle.ending()
        handle.kill()
        if handle.said:
            found: Outcome = handle.said[0]
            return found
        error: PoisonbenchError
        if hung:
            error = overdue()
        elif (handle.process.exitcode or 0) < 0:  # killed, perhaps for its memory
            if attempt.number < RETRIES:
                return None
            error = MethodError(f"its process died {RETRIES + 1} times ({ending}). Fewer --jobs take less memory.")
        else:
            error = ended_by(attempt.cell.plugins, ending)
        return self.lost(attempt, error, ChildProcessError(ending))


@contextmanager
def start_solitary(runner: Runner, jobs: int, threads: int) -> Iterator[Solitary]:
    """A pool that starts a process for each cell, for as long as this is open."""
    with scratch_folder() as folder:
        pool = Solitary(runner, jobs, threads, devices(runner.device), data_files(runner.data), ReportFolder(folder))
        try:
            yield pool
        finally:
            for child in list(pool._used):
                child.kill()


def _built_in_part(cell: Cell) -> Cell | None:
    """The cell with no plugin in it, as far as its clean model goes."""
    kinds = {name.partition(" ")[0] for name in cell.plugins}
    model: Any = cell.model
    if not kinds or "dataset" in kinds or not model.__module__.startswith("poisonbench.models."):
        return None
    return replace(cell, surrogate=model, attack=load("attack", "label-flip")(), defense=NoDefense())


def _play(send: Callable[[Any], None], task: Task) -> None:
    """The work of a process."""
    with task.given.stages() as stages:
        if task.built_in is not None:
            with suppress(PoisonbenchError):  # which the cell then meets in its turn
                part = task.built_in
                pretrain(part, prepare(part.settings.protocol.dataset, task.given.data), stages)
        cell: Cell = ForkingPickler.loads(task.cell)
        send(travelling(play(cell, prepare(cell.settings.protocol.dataset, task.given.data), stages)))
