"""Tables of texts as one HTML page that needs no other file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

from jinja2 import Template

from poisonbench.leaderboard.pages import pages
from poisonbench.leaderboard.tables.sheets import Sheet, Span


def html(title: str, sheets: Sequence[Sheet]) -> str:
    """A page for people and screen readers, light or dark as they have it, on which every text is escaped.

    Args:
        title: of the page.
        sheets: in order.
    """
    return _template().render(title=title, sheets=sheets, labels=_labels) + "\n"


@cache
def _template() -> Template:
    return pages("poisonbench.leaderboard.tables", "").get_template("sheets.html")


def _labels(sheet: Sheet, row: int) -> Iterator[Span]:
    """A row's labels with the number of rows that they stand for; an empty one is part of the one above."""
    for index, text in enumerate(sheet.rows[row][: sheet.left]):
        innermost = index == sheet.left - 1
        if text or innermost or not row:
            below = 1
            while not innermost and row + below < len(sheet.rows) and not sheet.rows[row + below][index]:
                below += 1
            yield Span(text, below)
