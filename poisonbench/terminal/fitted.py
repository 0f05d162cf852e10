"""A table that fits its console and loses nothing: no number and no name is cut off, however narrow it is."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from poisonbench.terminal.encoding import in_letters_of, text_in_letters_of

_READABLE = 24
"""Cells that running text has at least."""


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        heading: above it.
        justify: left for words, right for numbers.
        prose: whether it is running text, which may be broken anywhere between words.
    """

    heading: str
    justify: Literal["left", "right"] = "left"
    prose: bool = False


@dataclass(frozen=True)
class Fitted:
    """A table for rich. Columns that the console has no room for follow below, beside the labels again; where not even
    a label and a number have room, each row is a list.

    Attributes:
        columns: every one.
        rows: texts, one a column; lines of their own are kept.
        labels: how many columns, from the first, name the row.
        groups: rows that begin a group.
        gap: blanks between columns.
    """

    columns: Sequence[Column]
    rows: Sequence[Sequence[Text]]
    labels: int = 1
    groups: Collection[int] = ()
    gap: int = 2

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return self._spelled(options.encoding)._measure(options)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        yield from self._spelled(options.encoding)._layout(options.max_width)

    def _spelled(self, encoding: str) -> Fitted:
        """The same in letters that the encoding has: before anything is measured."""
        columns = [replace(column, heading=in_letters_of(encoding, column.heading)) for column in self.columns]
        rows = [[text_in_letters_of(encoding, text) for text in row] for row in self.rows]
        return replace(self, columns=columns, rows=rows)

    def _measure(self, options: ConsoleOptions) -> Measurement:
        whole = sum(map(self._whole, range(len(self.columns)))) + self.gap * (len(self.columns) - 1)
        return Measurement(min(whole, options.max_width), min(whole, options.max_width))

    def _layout(self, room: int) -> Iterator[RenderableType]:
        labels, others = range(self.labels), range(self.labels, len(self.columns))
        widest = max(map(self._least, others), default=0)
        whole, least = ([width(index) + self.gap for index in labels] for width in (self._whole, self._least))
        everything = sum(self._least(index) + self.gap for index in others) - self.gap
        if sum(least) + widest > room:
            yield from self._lists()
            return
        if sum(least) + everything <= room:
            widths = _shared_out(least, whole, room - everything)
        else:
            widths = _shared_out(least, whole, min(room - widest, max(sum(least), room // 2)))
        for index, block in enumerate(self._blocks(others, room - sum(widths))):
            if index:
                yield Text()
            yield self._block(block, widths)

    def _whole(self, index: int) -> int:
        """How wide a column is where nothing is broken."""
        return max(cell_len(line) for text in self._texts(index) for line in text.split("\n"))

    def _least(self, index: int) -> int:
        """How wide it is at least: prose some words, labels their longest word, numbers all that they are."""
        column = self.columns[index]
        if column.prose:
            return min(self._whole(index), max(_READABLE, self._longest(index)))
        return self._longest(index) if index < self.labels else self._whole(index)

    def _longest(self, index: int) -> int:
        return max((cell_len(word) for text in self._texts(index) for word in text.split()), default=0)

    def _texts(self, index: int) -> list[str]:
        return [self.columns[index].heading, *(row[index].plain for row in self.rows)]

    def _blocks(self, others: Sequence[int], room: int) -> list[list[int]]:
        blocks: list[list[int]] = []
        left = 0
        for index in others:
            width = self._least(index) + self.gap
            if not blocks or width > left + self.gap:
                blocks.append([])
                left = room
            blocks[-1].append(index)
            left -= width
        return blocks

    def _block(self, block: Sequence[int], widths: Sequence[int]) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, self.gap, 0, 0))
        for index, width in enumerate(widths):
            column = self.columns[index]
            table.add_column(Text(column.heading), justify=column.justify, overflow="fold", max_width=width - self.gap)
        for index in block:
            column = self.columns[index]
            looks = {"min_width": self._least(index)} if column.prose else {"no_wrap": True}
            table.add_column(Text(column.heading), justify=column.justify, overflow="fold", **looks)
        for number, row in enumerate(self.rows):
            if number and number in self.groups:
                table.add_section()
            table.add_row(*(row[index] for index in (*range(self.labels), *block)))
        return table

    def _lists(self) -> Iterator[Text]:
        for number, row in enumerate(self.rows):
            if number:
                yield Text()
            for label in row[: self.labels]:
                yield Text("\n").join(label.split("\n"))
            for column, text in zip(self.columns[self.labels :], row[self.labels :], strict=True):
                heading = " ".join(column.heading.split())
                yield Text.assemble("  ", f"{heading}: " if heading else "", Text(" ").join(text.split("\n")))


def _shared_out(least: Sequence[int], whole: Sequence[int], room: int) -> list[int]:
    """Widths between the least and the whole, as far as there is room."""
    widths = list(least)
    for index, most in enumerate(whole):
        widths[index] += max(0, min(most - widths[index], room - sum(widths)))
    return widths
