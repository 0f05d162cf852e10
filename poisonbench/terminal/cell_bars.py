"""Cells one after the other, as they run: bars on a terminal, elsewhere lines."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

from poisonbench.terminal.bars import Bars
from poisonbench.terminal.consoles import errors, note

if TYPE_CHECKING:
    from poisonbench.experiment.cell import Cell
    from poisonbench.experiment.runner import Outcome


class CellBars:
    """A Watch of the sweep, on standard error.

    Attributes:
        total: cells that are run.
        quiet: whether only what failed is said.
    """

    def __init__(self, total: int, quiet: bool = False) -> None:
        self.total, self.quiet = total, quiet
        self._done = 0
        self._bars = Bars(quiet)

    def __enter__(self) -> Self:
        self._bars.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.__exit__(kind, error, trace)

    def began(self, cell: Cell) -> Bars:
        """See sweep.Watch."""
        self._bars.label = f"{self._done + 1}/{self.total} {cell.title}"
        return self._bars

    def ended(self, cell: Cell, outcome: Outcome) -> None:
        """See sweep.Watch; on a terminal only what failed stays, elsewhere what was run."""
        self._done += 1
        metrics, spent = outcome.record.metrics, outcome.record.timing.total_s
        if outcome.error is not None:
            note(f"Error: {cell.title}: {outcome.error}")
        elif not self.quiet and not errors.is_terminal and metrics is not None and outcome.reused != ["record"]:
            note(f"{self._done}/{self.total} {cell.title}: drop {metrics.drop:.2f}, {spent:.1f} s")
