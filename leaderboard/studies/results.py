"""What a study found: at each place its records, summed up over seeds, beside what the paper prints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from poisonbench.leaderboard.statistics.intervals import Spread, spread
from poisonbench.store.record import Record

CLEAN = "Clean"
"""The column of accuracies before the attack."""

PRINTED = {"acc1": "acc1", "acc2": "acc2", "drop": "drop", "attack-time": "attack-hours"}
"""Which of the paper's numbers stands beside which of ours; its times are hours."""


@dataclass(frozen=True)
class Entry:
    """One place of a study.

    Attributes:
        row: label.
        column: label.
        x: on the x axis, or None.
        records: one good record each seed.
        missing: seeds without one.
        printed: the paper's numbers as printed, by name: acc1, acc2 (percent), drop, drop-std (points), attack-hours.
        recomputed: acc1 − acc2 of the printed accuracies, points, or None.
    """

    row: str
    column: str
    x: float | None
    records: tuple[Record, ...]
    missing: int = 0
    printed: Mapping[str, float] = field(default_factory=dict)
    recomputed: float | None = None

    def of(self, value: str) -> Spread | None:
        """A value over seeds, or None if no record has it."""
        return spread(self.records, value)


@dataclass(frozen=True)
class StudyResults:
    """A study as far as it was run.

    Attributes:
        name: table2, …
        profile: how much of it was run.
        title: what it shows.
        shows: values, in order.
        x_label: of the x axis, or None.
        percent: whether x is drawn in percent.
        entries: row by row.
        notes: what a reader must know.
    """

    name: str
    profile: str
    title: str
    shows: tuple[str, ...]
    entries: tuple[Entry, ...]
    notes: tuple[str, ...] = ()
    x_label: str | None = None
    percent: bool = False

    @property
    def rows(self) -> list[str]:
        """The labels of the rows, in order."""
        return list(dict.fromkeys(entry.row for entry in self.entries))

    @property
    def columns(self) -> list[str]:
        """The labels of the columns, in order."""
        return list(dict.fromkeys(entry.column for entry in self.entries))


def with_clean(entries: Iterable[Entry], clean: Mapping[str, float]) -> list[Entry]:
    """The entries, before each row an entry of its accuracy before the attack, one record a seed."""
    found, by_row = [], dict[str, list[Entry]]()
    for entry in entries:
        by_row.setdefault(entry.row, []).append(entry)
    for row, own in by_row.items():
        seeds = {record.seeds.run: record for entry in own for record in entry.records}
        records = tuple(seeds[seed] for seed in sorted(seeds))
        found.append(Entry(row, CLEAN, None, records, printed={"acc1": clean[row]} if row in clean else {}))
        found += own
    return found
