"""A table of texts in Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable

from poisonbench.leaderboard.tables.marks import Mark
from poisonbench.leaderboard.tables.sheets import Sheet
from poisonbench.visible import visible

_AROUND = {None: ("", ""), Mark.BEST: ("**", "**"), Mark.TIED: ("<ins>", "</ins>")}
"""Markdown has no underline; <ins> renders as one."""

_MARKUP = re.compile(r"[\\`*$]|~(?=~)|(?<=\])\(|(?<![^\W_])_|_(?![^\W_])")
"""What Markdown takes for markup in a line: of a link the "](", of underscores those that are not within a word."""


def markdown(sheet: Sheet) -> str:
    """The table in Markdown between its title and its notes."""
    sides = ["---" if index < sheet.left else "---:" for index in range(len(sheet.headings))]
    lines = [f"**{_plain(sheet.title)}**", "", _piped(map(_plain, sheet.flat(" · "))), _piped(sides)]
    for row, texts in enumerate(sheet.rows):
        around = (_AROUND[sheet.marks.get((row, index))] for index in range(len(texts)))
        lines.append(
            _piped(f"{before}{_plain(text)}{after}" for text, (before, after) in zip(texts, around, strict=True))
        )
    return "\n".join([*lines, "", *(f"{_plain(note)}  " for note in sheet.notes)]).rstrip() + "\n"


def _plain(text: str) -> str:
    whole = re.sub(r"&(?=#?\w+;)", "&amp;", visible(text).replace("\n", " "))
    return _MARKUP.sub(r"\\\g<0>", whole).replace("<", "&lt;")


def _piped(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
