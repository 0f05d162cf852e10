"""Records to cells: one value under one setup, over seeds. What is unranked or did not finish is counted, not used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from poisonbench.leaderboard.statistics.ranking import Seeds
from poisonbench.leaderboard.statistics.summaries import Summary, summary
from poisonbench.leaderboard.tables.axes import Setup, setup_fields
from poisonbench.leaderboard.tables.marks import Mark
from poisonbench.store.tables import Row

_age = attrgetter("finished_at", "record_id")

Numbers = Mapping[str, Callable[[Row], float | None]]
"""A row's number by the name of the value."""


@dataclass(frozen=True)
class Cell:
    """One value under one setup.

    Attributes:
        setup: of all its records.
        seed: the one it is of where seeds are an axis, else None.
        value: its name.
        seeds: the value by seed.
        summary: of it.
        mark: among what it competes with.
    """

    setup: Setup
    seed: int | None
    value: str
    seeds: Seeds
    summary: Summary
    mark: Mark | None = None


@dataclass(frozen=True)
class Counted:
    """The records of a store by setup.

    Attributes:
        latest: by seed, the latest of those that count.
        unranked: how many finished but deviate from the protocol.
        failed: how many did not finish.
    """

    latest: Mapping[Setup, Mapping[int, Row]]
    unranked: Mapping[Setup, int]
    failed: Mapping[Setup, int]

    @property
    def setups(self) -> tuple[Setup, ...]:
        """All that any record was run under."""
        return tuple({**self.latest, **self.unranked, **self.failed})


def counts(row: Row) -> bool:
    """Whether a row's numbers count: ranked, and it finished."""
    return row.ranked and row.status == "ok"


def counted(rows: Iterable[Row]) -> Counted:
    """Rows in any order, by setup."""
    latest: dict[tuple[Any, ...], dict[int, Row]] = {}
    unranked, failed = Counter[Setup](), Counter[Setup]()
    for row in rows:
        fields = setup_fields(row)
        if counts(row):
            seeds = latest.setdefault(fields, {})
            if row.seed not in seeds or _age(seeds[row.seed]) < _age(row):
                seeds[row.seed] = row
        else:
            (unranked if row.status == "ok" else failed)[Setup(*fields)] += 1
    return Counted({Setup(*fields): by_seed for fields, by_seed in latest.items()}, unranked, failed)


def cells(setup: Setup, rows: Mapping[int, Row], numbers: Numbers, axes: Collection[str]) -> Iterator[Cell]:
    """The cells of one setup, one for each value, or for each value and seed where seeds are an axis; none for a value
    that no record has.

    Args:
        setup: of the rows.
        rows: by seed.
        numbers: of the values.
        axes: of the table.
    """
    for name, number in numbers.items():
        seeds = {seed: found for seed, row in sorted(rows.items()) if (found := number(row)) is not None}
        if "seed" in axes:
            yield from (Cell(setup, seed, name, {seed: found}, summary([found])) for seed, found in seeds.items())
        elif seeds:
            yield Cell(setup, None, name, seeds, summary(list(seeds.values())))
