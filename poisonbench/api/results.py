"""What a run gave: its records, why cells failed, and the means over seeds at a glance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, overload

from poisonbench.counted import counted
from poisonbench.errors import PoisonbenchError
from poisonbench.leaderboard.badges import NOTE
from poisonbench.leaderboard.experiments import experiments
from poisonbench.leaderboard.frame import frame
from poisonbench.leaderboard.glance import glance, left_out
from poisonbench.store.record import Record
from poisonbench.visible import one_line, visible

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class Results(Sequence[Record]):
    """The records of a run, in the order of its cells.

    Printed, or as the last line of a notebook's cell, it is a table of accuracies before (acc1) and after (acc2) and
    their drop, mean ± standard deviation over seeds, with every failure below.

    Attributes:
        records: one a cell, failed ones included.
        errors: why cells failed, by `record_id`, with the cause's traceback.
    """

    records: tuple[Record, ...]
    errors: Mapping[str, PoisonbenchError] = field(default_factory=dict)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Results: ...
    def __getitem__(self, index: int | slice) -> Record | Results:
        if isinstance(index, slice):
            return self._of(self.records[index])
        return self.records[index]

    def __len__(self) -> int:
        return len(self.records)

    @property
    def failed(self) -> Results:
        """The cells that have no accuracies: they failed, ran out of time or out of memory."""
        return self._of(tuple(record for record in self.records if record.status != "ok"))

    def frame(self) -> pd.DataFrame:
        """One row a record: its conditions, accuracies, times and error."""
        return frame(self.records)

    def __str__(self) -> str:
        table = [self._table().to_string(index=False)] if len(self.failed) < len(self) else []
        return visible("\n".join([*table, *self._remarks()]))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """For notebooks."""
        table = [self._table().to_html(index=False, border=0)] if len(self.failed) < len(self) else []
        return visible("\n".join([*table, *(f"<p>{escape(line)}</p>" for line in self._remarks())]))

    def _of(self, records: tuple[Record, ...]) -> Results:
        names = {record.record_id for record in records}
        return Results(records, {name: error for name, error in self.errors.items() if name in names})

    def _table(self) -> pd.DataFrame:
        """A row an experiment, as text."""
        import pandas as pd

        return pd.DataFrame([glance(experiment) for experiment in experiments(self.records) if experiment.records])

    def _remarks(self) -> Iterator[str]:
        """What the table does not show."""
        found = experiments(self.records)
        if any(experiment.mixed_code for experiment in found):
            yield NOTE
        yield from left_out(found)
        if not self.records:
            yield "No cells."
        if self.failed:
            yield f"{len(self.failed)} of {counted(len(self), 'cell')} failed:"
        for record in self.failed:
            yield one_line(f"{_title(record)}: {record.status}: {record.error}")
        for deviations in dict.fromkeys(record.protocol.deviations for record in self.records if not record.ranked):
            yield one_line(f"Unranked: {'; '.join(deviations) or 'the protocol is a file of your own'}.")


def _title(record: Record) -> str:
    epsilon, seed = record.threat.epsilon, record.seeds.run
    return f"{record.attack.name} · {record.defense.name} · {record.model.name} · ε = {epsilon:g} · seed {seed}"
