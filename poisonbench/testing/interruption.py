"""Kill a loop in a chosen step, for tests of resuming."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from poisonbench.stages import stage as stage_module
from poisonbench.stages.stage import Silent


class Killed(BaseException):
    """The kill: no Exception, so that no method handles it, as none can handle SIGKILL."""


class StepCounter(Silent):
    """Counts steps of loops that can be resumed; kills in the `kill_at`-th, after its work and before its save."""

    def __init__(self, kill_at: int = 0) -> None:
        self.steps = 0
        self._kill_at = kill_at
        self._resumable: set[str] = set()

    def begin(self, task: str, total: int | None, done: int) -> None:
        """See Progress. A loop of unknown length is one of stage.counted, which starts again."""
        if total is not None:
            self._resumable.add(task)

    def advance(self, task: str, done: int, measures: dict[str, float]) -> None:
        """See Progress."""
        if task not in self._resumable:
            return
        self.steps += 1
        if self.steps == self._kill_at:
            raise Killed


@contextmanager
def save_every_step() -> Iterator[None]:
    """Make loops save after each of their steps, however short."""
    usual, stage_module.SAVE_EVERY_S = stage_module.SAVE_EVERY_S, -1.0
    try:
        yield
    finally:
        stage_module.SAVE_EVERY_S = usual
