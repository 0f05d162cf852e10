"""A table of texts for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from poisonbench.leaderboard.tables.marks import Mark
from poisonbench.leaderboard.tables.sheets import Sheet

_STYLES = {None: "", Mark.BEST: "bold", Mark.TIED: "underline"}


def terminal(sheet: Sheet) -> RenderableType:
    """The table for rich, between its title and its notes. Columns that the console has no room for follow below,
    beside the labels again; nothing is cut off."""
    return _Fitted(sheet)


@dataclass(frozen=True)
class _Fitted:
    sheet: Sheet

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        yield Text(self.sheet.title, style="bold")
        most, blocks = _blocks(self.sheet, options.max_width)
        for index, block in enumerate(blocks):
            if index:
                yield Text()
            yield _block(self.sheet, block, most)
        yield from (Text(note, style="dim") for note in self.sheet.notes)


def _blocks(sheet: Sheet, room: int) -> tuple[int | None, list[list[int]]]:
    """How wide a label may be, if not as it is, and the columns of numbers of each block."""
    texts = zip(sheet.flat("\n"), *sheet.rows, strict=True)
    widths = [max(cell_len(line) for text in column for line in text.split("\n")) + 1 for column in texts]
    numbers = list(range(sheet.left, len(widths)))
    if sum(widths) - 1 <= room:
        return None, [numbers]
    most = None if sum(widths[: sheet.left]) <= room // 2 else max(1, room // 2 // sheet.left - 1)
    labels = sum(width if most is None else min(width, most + 1) for width in widths[: sheet.left])
    blocks: list[list[int]] = []
    left = 0
    for index in numbers:
        if not blocks or widths[index] > left + 1:
            blocks.append([])
            left = room - labels
        blocks[-1].append(index)
        left -= widths[index]
    return most, blocks or [[]]


def _block(sheet: Sheet, block: Sequence[int], most: int | None) -> Table:
    looks: dict[str, Any] = {"box": None, "pad_edge": False, "padding": (0, 1, 0, 0)}
    table = Table(**looks)
    headings = sheet.flat("\n")
    for heading in headings[: sheet.left]:
        table.add_column(Text(heading), overflow="fold", max_width=most)
    for index in block:
        table.add_column(Text(headings[index]), justify="right", overflow="fold")
    for row, texts in enumerate(sheet.rows):
        if row and row in sheet.groups:
            table.add_section()
        styled = ((texts[index], _STYLES[sheet.marks.get((row, index))]) for index in (*range(sheet.left), *block))
        table.add_row(*map(Text.assemble, styled))  # a style of the whole Text would underline the blanks around it too
    return table
