"""Hearing how far a worker is, and that it hangs."""

from __future__ import annotations

import time
from dataclasses import dataclass

from poisonbench.errors import StageTimeoutError
from poisonbench.stages.stage import Progress
from poisonbench.sweeps.workers.reports import Report

GRACE_S = 60.0
"""A worker that is this long past its deadline hangs, and is stopped."""


@dataclass
class Listener:
    """Passes on what a worker tells.

    Attributes:
        progress: who watches.
        started: when it was first heard of, on the monotonic clock.
        task: the loop it was in last.
    """

    progress: Progress
    started: float | None = None
    task: str = ""

    def hear(self, report: Report | None) -> None:
        """Pass on how far the worker is; None is no news."""
        if report is None:
            return
        self.started = self.started or time.monotonic()
        task, done, total = report
        if task != self.task:
            self.progress.end(self.task)
            self.progress.begin(task, total, done)
            self.task = task
        self.progress.advance(task, done, {})

    def hangs(self, timeout: float | None) -> bool:
        """Whether it did not stop itself at its deadline, so many seconds after it began."""
        return timeout is not None and self.started is not None and time.monotonic() - self.started > timeout + GRACE_S


def overdue() -> StageTimeoutError:
    """The error of a worker that was stopped since it hung."""
    return StageTimeoutError(f"stopped {GRACE_S:g} s past its deadline, since it did not stop itself.")
