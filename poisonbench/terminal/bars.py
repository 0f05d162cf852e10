"""Progress bars on standard error; none when it is no terminal."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from poisonbench.terminal.consoles import errors

_REFRESH_S = 0.1


class Bars:
    """The Progress of a stage: one bar a running loop, with its latest losses and residuals.

    Attributes:
        label: shown before every task, such as the seed.
    """

    def __init__(self) -> None:
        self.label = ""
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[measures]}", style="dim", markup=False),
            console=errors,
            transient=True,
            disable=not errors.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._drawn = 0.0

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def begin(self, task: str, total: int | None, done: int) -> None:
        """See stage.Progress."""
        text = f"{self.label} · {task}" if self.label else task
        self._tasks[task] = self._bars.add_task(text, total=total, completed=done, measures="")

    def advance(self, task: str, done: int, measures: dict[str, float]) -> None:
        """See stage.Progress; drawn ten times a second at most."""
        now = time.monotonic()
        if now - self._drawn < _REFRESH_S:
            return
        self._drawn = now
        shown = "  ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in measures.items())
        self._bars.update(self._tasks[task], completed=done, measures=shown)

    def end(self, task: str) -> None:
        """See stage.Progress."""
        self._bars.remove_task(self._tasks.pop(task))
