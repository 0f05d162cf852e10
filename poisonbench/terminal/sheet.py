"""A table of texts for a terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from poisonbench.leaderboard.tables.marks import Mark
from poisonbench.leaderboard.tables.sheets import Sheet
from poisonbench.terminal.fitted import Column, Fitted

_STYLES = {None: "", Mark.BEST: "bold", Mark.TIED: "underline"}


def terminal(sheet: Sheet, styled: bool = True) -> RenderableType:
    """The table for rich, between its title and its notes; see Fitted.

    Args:
        sheet: the table.
        styled: whether the console shows what is bold; where it does not, nothing is said of it.
    """
    headings = sheet.flat("\n")
    columns = [Column(text, "left" if index < sheet.left else "right") for index, text in enumerate(headings)]
    rows = [
        # A style of the whole Text would underline the blanks around it too.
        [Text.assemble((text, _STYLES[sheet.marks.get((number, index))])) for index, text in enumerate(row)]
        for number, row in enumerate(sheet.rows)
    ]
    notes = (Text(note, style="dim") for note in sheet.notes if styled or note not in sheet.legend)
    return Group(Text(sheet.title, style="bold"), Fitted(columns, rows, sheet.left, sheet.groups, gap=1), *notes)
