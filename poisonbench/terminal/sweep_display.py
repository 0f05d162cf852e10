"""A sweep as it runs, on standard error: what is done, what is at work, what came last; on a pipe a line a cell."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from poisonbench.terminal.consoles import errors, note

if TYPE_CHECKING:
    from poisonbench.experiment.cell import Cell
    from poisonbench.experiment.runner import Outcome

LATEST = 5
"""Finished cells that are shown."""


@dataclass
class AtWork:
    """A running cell; hears of its loops (see stage.Progress)."""

    title: str
    began: float
    loops: dict[str, tuple[int, int | None]] = field(default_factory=dict)

    def begin(self, task: str, total: int | None, done: int) -> None:
        """See stage.Progress."""
        self.loops[task] = done, total

    def advance(self, task: str, done: int, measures: dict[str, float]) -> None:
        """See stage.Progress."""
        self.loops[task] = done, self.loops.get(task, (0, None))[1]

    def end(self, task: str) -> None:
        """See stage.Progress."""
        self.loops.pop(task, None)


class SweepDisplay:
    """A live table; a Watch of the sweep.

    Attributes:
        total: cells that the sweep runs.
        seconds: what each of them is expected to take, by cell hash, for the time that is left; may lack some.
    """

    def __init__(self, total: int, seconds: dict[str, float]) -> None:
        self.total, self.seconds = total, seconds
        self._began = time.monotonic()
        self._running: dict[int, AtWork] = {}
        self._latest: deque[Text] = deque(maxlen=LATEST)
        self._done: list[str] = []
        self._failed = 0
        self._live = Live(get_renderable=self._table, console=errors, transient=True, refresh_per_second=4)

    def __enter__(self) -> Self:
        if errors.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def began(self, cell: Cell) -> AtWork:
        """See sweep.Watch."""
        at_work = AtWork(cell.title, time.monotonic())
        self._running[id(cell)] = at_work
        return at_work

    def ended(self, cell: Cell, outcome: Outcome) -> None:
        """See sweep.Watch."""
        self._running.pop(id(cell), None)
        self._done.append(cell.hash())
        record = outcome.record
        if outcome.error is not None:
            self._failed += 1
            note(f"Error: {cell.title}: {outcome.error}")
        drop = f"drop {record.metrics.drop:.2f}" if record.metrics else record.status
        line = f"{cell.title}: {drop}, {record.timing.total_s:.1f} s"
        self._latest.append(Text(line, style="dim"))
        if outcome.error is None and not errors.is_terminal:
            note(f"{len(self._done)}/{self.total} {line}")

    def _table(self) -> Group:
        failed = f", {self._failed} failed" if self._failed else ""
        spent = time.monotonic() - self._began
        head = Table.grid(padding=(0, 1))
        head.add_row(
            ProgressBar(total=max(1, self.total), completed=len(self._done), width=24),
            f"{len(self._done)}/{self.total} cells{failed}",
            f"{clock(spent)} spent{self._left(spent)}",
        )
        rows = Table.grid(padding=(0, 1))
        for at_work in list(self._running.values()):
            task, (done, total) = next(reversed(list(at_work.loops.items())), ("", (0, None)))
            steps = f"{done}/{total}" if total else str(done or "")
            rows.add_row(Text(at_work.title), Text(task), steps, clock(time.monotonic() - at_work.began))
        return Group(head, rows, *self._latest)

    def _left(self, spent: float) -> str:
        """Time left: what the remaining cells are expected to take, at the pace of those that are done."""
        if not self._done:
            return ""
        expected = [self.seconds.get(name) for name in self._done]
        known = [seconds for seconds in expected if seconds is not None]
        usual = sum(self.seconds.values()) / len(self.seconds) if self.seconds else 1.0
        done = sum(known) + usual * (len(expected) - len(known))
        everything = sum(self.seconds.values()) + usual * (self.total - len(self.seconds))
        return f", {clock(spent * max(0.0, everything - done) / done)} left" if done > 0 else ""


def clock(seconds: float) -> str:
    """A duration as people read it."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
