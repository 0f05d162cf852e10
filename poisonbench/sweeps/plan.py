"""A sweep: which cells of a grid are due, and how they are worked off."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import ClassVar, Protocol

from poisonbench.experiment.cell import Cell
from poisonbench.experiment.runner import Outcome, Runner
from poisonbench.stages.stage import Progress, Silent
from poisonbench.store.database import Store

MISSING = "missing"
FAILURES = ("failed", "timeout", "oom")


class Overwrite(StrEnum):
    """What is done about cells that the store has a record of.

    ONLY_MISSING leaves them, failed ones too; NEVER computes nothing at all and shows what there is; ALWAYS makes a new
    record of every cell, from finished stages where there are any.
    """

    ONLY_MISSING = "only-missing"
    NEVER = "never"
    ALWAYS = "always"


@dataclass(frozen=True)
class Planned:
    """A cell before the sweep.

    Attributes:
        cell: the cell.
        found: ok, failed, timeout or oom if the store has a record of it, else missing. One good record is enough: a
            later failure does not undo it.
        due: whether the sweep runs it.
    """

    cell: Cell
    found: str
    due: bool


def plan(
    store: Store, cells: Sequence[Cell], overwrite: Overwrite = Overwrite.ONLY_MISSING, retry: Collection[str] = ()
) -> list[Planned]:
    """What a sweep would do about each cell.

    Args:
        store: where records are looked for.
        cells: every cell of the grid.
        overwrite: see Overwrite.
        retry: which failures are run again: failed, timeout, oom.
    """
    statuses = store.statuses([cell.hash() for cell in cells])
    planned = []
    for cell in cells:
        found = statuses.get(cell.hash(), MISSING)
        wanted = found == MISSING or found in retry
        due = overwrite is Overwrite.ALWAYS or (overwrite is Overwrite.ONLY_MISSING and wanted)
        planned.append(Planned(cell, found, due))
    return planned


class Watch(Protocol):
    """Somebody who watches a sweep."""

    def began(self, cell: Cell) -> Progress:
        """A cell is at work; what this gives hears of its loops."""

    def ended(self, cell: Cell, outcome: Outcome) -> None:
        """It is done, well or not; its record is stored."""


class Unwatched:
    """Nobody watches."""

    def began(self, cell: Cell) -> Progress:
        """See Watch."""
        return Silent()

    def ended(self, cell: Cell, outcome: Outcome) -> None:
        """See Watch."""


class Pool(Protocol):
    """Who works off cells: this process, or workers."""

    @property
    def room(self) -> int:
        """How many cells may be at work at a time."""

    def run(self, cells: Sequence[Cell], watch: Watch) -> Iterator[Outcome]:
        """Run every cell and store its record; outcomes come as they are done, in any order."""


@dataclass(frozen=True)
class Alone:
    """One cell after the other, in this process.

    Attributes:
        runner: with its store.
    """

    runner: Runner
    room: ClassVar[int] = 1

    def run(self, cells: Sequence[Cell], watch: Watch) -> Iterator[Outcome]:
        """see Pool; in the order of the cells."""
        for cell in cells:
            outcome = replace(self.runner, progress=watch.began(cell)).run(cell)
            watch.ended(cell, outcome)
            yield outcome
