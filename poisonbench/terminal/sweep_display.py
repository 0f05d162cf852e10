"""A sweep as it runs, on standard error: what is done, what is at work, what came last; in a log lines."""

from __future__ import annotations

import time
from collections import deque
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from poisonbench.counted import counted
from poisonbench.terminal.clock import clock
from poisonbench.terminal.consoles import errors, note
from poisonbench.terminal.loops import EVERY_S, Loops, described
from poisonbench.terminal.ticker import Ticker

if TYPE_CHECKING:
    from poisonbench.experiment.cell import Cell
    from poisonbench.experiment.runner import Outcome

LATEST = 5
"""Finished cells that are shown; in a log, cells at work."""


class SweepDisplay:
    """A live table; a Watch of the sweep.

    Attributes:
        total: cells that the sweep runs.
        seconds: what each of them is expected to take, by cell hash, for the time that is left; may lack some.
        quiet: whether only what failed is said.
    """

    def __init__(self, total: int, seconds: dict[str, float], quiet: bool = False) -> None:
        self.total, self.seconds, self.quiet = total, seconds, quiet
        self._began = self._said = time.monotonic()
        self._running: dict[int, Loops] = {}
        self._latest: deque[Text] = deque(maxlen=LATEST)
        self._done: list[str] = []
        self._failed = 0
        self._shown = ExitStack()

    def __enter__(self) -> Self:
        if errors.is_terminal and not self.quiet:
            live = Live(get_renderable=self._table, console=errors, transient=True, refresh_per_second=4)
            self._shown.enter_context(live)
        elif not self.quiet:
            self._shown.enter_context(Ticker(self.look))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shown.close()

    def began(self, cell: Cell) -> Loops:
        """See sweep.Watch."""
        at_work = Loops(cell.title, None if self.quiet or errors.is_terminal else note)
        self._running[id(cell)] = at_work
        return at_work

    def ended(self, cell: Cell, outcome: Outcome) -> None:
        """See sweep.Watch."""
        if at_work := self._running.pop(id(cell), None):
            at_work.stop()
        self._done.append(cell.hash())
        record = outcome.record
        if outcome.error is not None:
            self._failed += 1
            note(f"Error: {cell.title}: {outcome.error}")
        drop = f"drop {record.metrics.drop:.2f}" if record.metrics else record.status
        line = f"{cell.title}: {drop}, {record.timing.total_s:.1f} s"
        self._latest.append(Text(line, style="dim"))
        if outcome.error is None and not errors.is_terminal and not self.quiet:
            note(f"{len(self._done)}/{self.total} {line}")

    def look(self) -> None:
        """Write the lines that are due: stages that have begun, and each minute one of everything at work."""
        for at_work in list(self._running.values()):
            at_work.look(each_minute=False)
        now = time.monotonic()
        if now - self._said < EVERY_S:
            return
        self._said = now
        note(f"{self._counts()}, {self._times()}")
        busy = [(loops.label, latest) for loops in list(self._running.values()) if (latest := loops.latest())]
        for label, latest in busy[:LATEST]:
            note(f"  {label}: {described(*latest, now)}")
        if len(busy) > LATEST:
            note(f"  and {len(busy) - LATEST} more at work")

    def _table(self) -> RenderableType:
        now = time.monotonic()
        head = Table.grid(padding=(0, 1))
        head.add_row(
            ProgressBar(total=max(1, self.total), completed=len(self._done), width=24), self._counts(), self._times()
        )
        rows = Table.grid(padding=(0, 1))
        rows.add_column(overflow="fold")
        rows.add_column(overflow="fold")
        for _ in range(3):
            rows.add_column(no_wrap=True, justify="right")
        for at_work in list(self._running.values()):
            task, loop = at_work.latest() or ("", None)
            steps, left = (loop.steps, loop.left(now)) if loop else ("", "")
            rows.add_row(Text(at_work.label), Text(task), steps, left, clock(now - at_work.began))
        return Group(head, rows, *self._latest)

    def _counts(self) -> str:
        return f"{len(self._done)}/{counted(self.total, 'cell')}" + (f", {self._failed} failed" if self._failed else "")

    def _times(self) -> str:
        spent = time.monotonic() - self._began
        return f"{clock(spent)} spent{self._left(spent)}"

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
