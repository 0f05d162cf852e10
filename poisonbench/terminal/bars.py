"""Progress bars on standard error; where it is no terminal, lines."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from poisonbench.terminal.consoles import errors, note
from poisonbench.terminal.loops import Loop, Loops, described
from poisonbench.terminal.ticker import Ticker

_WIDEST, _NARROWEST = 24, 6
"""Cells of a bar; where there is not even room for the narrowest there is none."""


class Bars:
    """The Progress of a stage: one bar a running loop, with its latest losses and residuals.

    Args:
        quiet: show nothing, neither bars nor lines.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._loops = Loops(say=note)
        self._shown = ExitStack()
        self._quiet = quiet

    @property
    def label(self) -> str:
        """What the loops belong to, such as a cell; it stands above them."""
        return self._loops.label

    @label.setter
    def label(self, text: str) -> None:
        self._loops.label = text

    def __enter__(self) -> Self:
        if errors.is_terminal and not self._quiet:
            live = Live(get_renderable=self._drawn, console=errors, transient=True, refresh_per_second=10)
            self._shown.enter_context(live)
        elif not self._quiet:
            self._shown.enter_context(Ticker(self._loops.look))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shown.close()

    def begin(self, task: str, total: int | None, done: int) -> None:
        """See stage.Progress."""
        self._loops.begin(task, total, done)

    def advance(self, task: str, done: int, measures: dict[str, float]) -> None:
        """See stage.Progress."""
        self._loops.advance(task, done, measures)

    def end(self, task: str) -> None:
        """See stage.Progress."""
        self._loops.end(task)

    def _drawn(self) -> RenderableType:
        return BarTable(self._loops)


class BarTable:
    """Loops as bars, below what they belong to. However narrow the console, how far they are and how long they still
    take are whole; the bar gives way to them, and of losses and residuals there are as many as have room."""

    def __init__(self, loops: Loops) -> None:
        self._label, self._running, self._now = loops.label, dict(loops.running), time.monotonic()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        if not self._running:
            return
        if self._label:
            yield Text(self._label, overflow="fold")
        figures = [(loop.steps, loop.left(self._now)) for loop in self._running.values()]
        room = options.max_width - max(map(cell_len, self._running)) - 2
        room -= sum(max(map(len, column)) + 1 for column in zip(*figures, strict=True))
        if room < 0:
            yield from (Text(described(task, loop, self._now)) for task, loop in self._running.items())
            return
        width = min(_WIDEST, room) if room >= _NARROWEST else 0
        table = Table.grid(padding=(0, 1))
        for _ in range(5):
            table.add_column(no_wrap=True)
        for (task, loop), (steps, left) in zip(self._running.items(), figures, strict=True):
            bar = ProgressBar(total=loop.total, completed=loop.done, width=width) if width else ""
            table.add_row(Text(task), bar, steps, left, Text(_measures(loop, room - width), style="dim"))
        yield table


def _measures(loop: Loop, room: int) -> str:
    """As many of a loop's losses and residuals as have room, each of them whole."""
    shown = ""
    for name, value in loop.measures.items():
        longer = f"{shown}  {name.replace('_', ' ')} {value:.3g}".strip()
        if cell_len(longer) > room:
            break
        shown = longer
    return shown
