"""Cells at work elsewhere: how a pool of workers hands them out, hears of them, and tries again."""

from __future__ import annotations

import itertools
import traceback
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar

from poisonbench.errors import PoisonbenchError
from poisonbench.experiment.cell import Cell
from poisonbench.experiment.runner import Outcome, Runner, unfinished
from poisonbench.sweeps.plan import Watch
from poisonbench.sweeps.workers.listener import Listener
from poisonbench.sweeps.workers.reports import Report

Handle = TypeVar("Handle", bound=Hashable)

RETRIES = 3
"""How often a cell is tried again after its worker or its machine died."""


@dataclass(frozen=True)
class Attempt:
    """One attempt to run a cell on a worker.

    Attributes:
        cell: the cell.
        owner: names the attempt, its reports and its locks.
        number: attempts before it.
        listener: hears how far it is.
    """

    cell: Cell
    owner: str
    number: int
    listener: Listener


class WorkerPool(ABC, Generic[Handle]):
    """A Pool whose cells run elsewhere. This process alone decides what runs and adds records to the store.

    Whoever opens it ends its workers when he closes it, cells at work included.

    Attributes:
        runner: store, data, device, timeout.
    """

    runner: Runner

    @property
    @abstractmethod
    def room(self) -> int:
        """How many cells may be at work at a time."""

    @abstractmethod
    def start(self, attempt: Attempt) -> Handle:
        """Have a worker run the attempt's cell."""

    @abstractmethod
    def wait(self, running: Collection[Handle]) -> Iterable[Handle]:
        """Wait a moment; those that are over."""

    @abstractmethod
    def reports(self, running: Iterable[Attempt]) -> Mapping[str, Report]:
        """How far they are, by owner; of those that have told."""

    @abstractmethod
    def stop(self, handle: Handle) -> None:
        """Stop a worker at once."""

    @abstractmethod
    def outcome(self, handle: Handle, attempt: Attempt, hung: bool) -> Outcome | None:
        """What came of an attempt that is over, stopped since it hung or not; None if it is to be tried again."""

    def run(self, cells: Sequence[Cell], watch: Watch) -> Iterator[Outcome]:
        """See Pool; what the store has comes first."""
        since = datetime.now(UTC)
        found = [(cell, self.runner.known(cell)) for cell in cells]
        yield from (outcome for _, outcome in found if outcome is not None)
        waiting = deque((cell, 0) for cell, outcome in found if outcome is None)
        running, hung, names = dict[Handle, Attempt](), set[Handle](), itertools.count()
        while waiting or running:
            while waiting and len(running) < self.room:
                cell, number = _next(waiting, running.values())
                attempt = Attempt(cell, f"{cell.hash()}-{next(names)}", number, Listener(watch.began(cell)))
                running[self.start(attempt)] = attempt
            for handle in self.wait(running):
                attempt = running.pop(handle)
                outcome = self.outcome(handle, attempt, handle in hung)
                if outcome is None:
                    waiting.appendleft((attempt.cell, attempt.number + 1))
                    continue
                outcome = self.runner.keep(attempt.cell, outcome, since)
                watch.ended(attempt.cell, outcome)
                yield outcome
            reports = self.reports(running.values())
            for handle, attempt in running.items():
                attempt.listener.hear(reports.get(attempt.owner))
                if attempt.listener.hangs(self.runner.timeout):
                    hung.add(handle)
                    self.stop(handle)

    def lost(self, attempt: Attempt, error: PoisonbenchError, cause: BaseException) -> Outcome:
        """The outcome of a cell whose worker is gone for good."""
        error.__cause__ = cause
        cell, runner = attempt.cell, self.runner
        return unfinished(cell, runner.dataset(cell), runner.device, error, datetime.now(UTC))


def _next(waiting: deque[tuple[Cell, int]], running: Iterable[Attempt]) -> tuple[Cell, int]:
    """Take the first cell that crafts a poison set nobody is crafting; else the first."""
    busy = {attempt.cell.crafting_hash() for attempt in running}
    index = next((i for i, (cell, _) in enumerate(waiting) if cell.crafting_hash() not in busy), 0)
    found = waiting[index]
    del waiting[index]
    return found


def travelling(outcome: Outcome) -> Outcome:
    """The outcome, with its error's traceback as a note: a traceback itself does not leave its process."""
    if outcome.error is not None:
        outcome.error.add_note("".join(traceback.format_exception(outcome.error)).rstrip())
    return outcome
