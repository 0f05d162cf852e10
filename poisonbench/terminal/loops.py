"""The running loops of a cell: how far they are, how long they still take, and lines that say so in a log."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from poisonbench.terminal.clock import clock

BRIEF_S = 2.0
"""Loops that are over sooner have no line."""

EVERY_S = 60.0
"""How often a long loop has one."""


@dataclass
class Loop:
    """A running loop.

    Attributes:
        total: steps in all, or None if nobody can know.
        start: steps that were done when it began here.
        began: when, on the monotonic clock.
        done: steps that are done.
        measures: its latest losses and residuals by name.
        said: when its latest line was written, or None.
    """

    total: int | None
    start: int
    began: float
    done: int
    measures: dict[str, float] = field(default_factory=dict)
    said: float | None = None

    @property
    def steps(self) -> str:
        """How far it is."""
        return f"{self.done}/{self.total}" if self.total else str(self.done or "")

    def left(self, now: float) -> str:
        """How long it still takes at the pace that it had here, or nothing if nobody can tell yet."""
        if not self.total or self.done <= self.start:
            return ""
        pace = (now - self.began) / (self.done - self.start)
        return f"{clock(pace * max(0, self.total - self.done))} left"


class Loops:
    """The Progress of a cell, or of whatever else runs one loop after the other.

    Args:
        label: what they belong to.
        say: writes a line; None writes none.
    """

    def __init__(self, label: str = "", say: Callable[[str], None] | None = None) -> None:
        self.label, self.began = label, time.monotonic()
        self.running: dict[str, Loop] = {}
        self._say = say
        self._lock = threading.Lock()  # lines come from a thread of their own

    def begin(self, task: str, total: int | None, done: int) -> None:
        """See stage.Progress."""
        with self._lock:
            self.running[task] = Loop(total, done, time.monotonic(), done)

    def advance(self, task: str, done: int, measures: dict[str, float]) -> None:
        """See stage.Progress."""
        if task not in self.running:
            self.begin(task, None, done)
        loop = self.running[task]
        loop.done, loop.measures = done, measures

    def end(self, task: str) -> None:
        """See stage.Progress."""
        with self._lock:
            loop = self.running.pop(task, None)
            if loop is not None and loop.said is not None:
                self._line(f"ended: {task}, {clock(time.monotonic() - loop.began)}")

    def stop(self) -> None:
        """End whatever still runs: nothing more will be heard."""
        for task in list(self.running):
            self.end(task)

    def look(self, each_minute: bool = True) -> None:
        """Write the lines that are due: of each loop that is not brief once, and then, if asked for, each minute."""
        with self._lock:
            now = time.monotonic()
            for task, loop in self.running.items():
                if loop.said is None and now - loop.began >= BRIEF_S:
                    self._line(f"begun: {described(task, loop, now)}")
                elif each_minute and loop.said is not None and now - loop.said >= EVERY_S:
                    self._line(described(task, loop, now))
                else:
                    continue
                loop.said = now

    def latest(self) -> tuple[str, Loop] | None:
        """The innermost loop."""
        return next(reversed(list(self.running.items())), None)

    def _line(self, text: str) -> None:
        if self._say is not None:
            self._say(f"{self.label}: {text}" if self.label else text)


def described(task: str, loop: Loop, now: float) -> str:
    """A loop in some words: what, how far, how long still."""
    return ", ".join(filter(None, (task, loop.steps, loop.left(now))))
