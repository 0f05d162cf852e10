"""How far workers are: what each tells, and where those that share a machine leave it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Report = tuple[str, int, int | None]
"""A loop's task, steps done, steps in all."""

Tell = Callable[[str, str, int, int | None], None]
"""tell(owner, task, done, total): leave a report, and wait for nothing."""

_REPORT_S = 0.5


class RemoteProgress:
    """Tells how far this worker is, twice a second at most; see stage.Progress.

    Attributes:
        tell: leaves a report.
        owner: the attempt.
    """

    def __init__(self, tell: Tell, owner: str) -> None:
        self.tell, self.owner = tell, owner
        self._totals: dict[str, int | None] = {}
        self._told = 0.0

    def begin(self, task: str, total: int | None, done: int) -> None:
        """See stage.Progress."""
        self._totals[task] = total
        self.tell(self.owner, task, done, total)

    def advance(self, task: str, done: int, measures: dict[str, float]) -> None:
        """See stage.Progress."""
        if time.monotonic() - self._told > _REPORT_S:
            self._told = time.monotonic()
            self.tell(self.owner, task, done, self._totals.get(task))

    def end(self, task: str) -> None:
        """See stage.Progress."""
        self._totals.pop(task, None)


@dataclass(frozen=True)
class ReportFolder:
    """A file for each owner. No lock: a worker that is killed at any moment stops nobody.

    Attributes:
        path: of this run alone.
    """

    path: Path

    def tell(self, owner: str, task: str, done: int, total: int | None) -> None:
        """See Tell."""
        draft = self.path / f".{owner}"
        draft.write_text(json.dumps([task, done, total]), encoding="utf-8")
        draft.replace(self.path / owner)

    def read(self, owner: str) -> Report | None:
        """The latest report of that owner, or None if there is none yet."""
        try:
            task, done, total = json.loads((self.path / owner).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return task, done, total
