"""A table of texts: what every way to write a table starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from poisonbench.leaderboard.tables.marks import Mark


@dataclass(frozen=True)
class Span:
    """A heading over several columns.

    Attributes:
        text: what they have in common.
        width: how many.
    """

    text: str
    width: int


@dataclass(frozen=True)
class Sheet:
    """A table of texts.

    Attributes:
        title: what it shows.
        headings: of the columns.
        left: how many columns are labels, set left; the others hold numbers, set right.
        rows: as many texts each as there are headings. A label may be empty: it is that of the row above.
        groups: indices of rows that begin a group; a rule goes before them.
        notes: below the table.
        marks: of texts that stand out, by indices of row and column.
        over: headings over the headings, the top one first; each line spans all columns that hold numbers.
        legend: those notes that say what marks mean.
    """

    title: str
    headings: tuple[str, ...]
    left: int
    rows: tuple[tuple[str, ...], ...]
    groups: frozenset[int] = frozenset()
    notes: tuple[str, ...] = ()
    marks: Mapping[tuple[int, int], Mark] = field(default_factory=dict)
    over: tuple[tuple[Span, ...], ...] = ()
    legend: frozenset[str] = frozenset()

    def flat(self, between: str) -> list[str]:
        """One heading a column, with those over it before it."""
        above = [[span.text for span in line for _ in range(span.width)] for line in self.over]
        return [*self.headings[: self.left], *map(between.join, zip(*above, self.headings[self.left :], strict=True))]
