"""Texts of figures: whatever a name holds, it is printed as it is, on lines that fit. Needs no matplotlib."""

from __future__ import annotations

import textwrap
from collections.abc import Collection

from poisonbench.counted import counted
from poisonbench.visible import visible

CHARACTER = 0.062
"""Mean width of a character of 7 points, inches."""

TEXT = 0.15
"""Height of a line of text of 7 points, space included, inches."""

DOT = "\N{NO-BREAK SPACE}· "
"""Between the parts of a note: a line may break after it, never before."""

_LONGEST = 60


def name(text: str) -> str:
    """A label made of what a record says: one line, at most 60 characters, none of them invisible (an SVG with a
    control character in it is no XML)."""
    shown = visible(" ".join(text.split()))
    return shown if len(shown) <= _LONGEST else shown[: _LONGEST - 1] + "…"


def seeds(counts: Collection[int]) -> str:
    """How many seeds means are over: "n = 3 seeds", "n = 1 to 3 seeds"."""
    least, most = min(counts), max(counts)
    return f"n = {'' if least == most else f'{least} to '}{counted(most, 'seed')}"


def wrapped(text: str, width: float) -> str:
    """A text in lines of about that many inches at 7 points."""
    return textwrap.fill(text, max(1, int(width / CHARACTER)))


def lines(text: str) -> int:
    """How many lines a text has."""
    return text.count("\n") + 1


def number(value: float, decimals: int = 2, signed: bool = False) -> str:
    """A number with a typographic minus, and none before zero."""
    text = f"{abs(value):.{decimals}f}"
    sign = "" if not float(text) else "−" if value < 0 else "+" if signed else ""
    return sign + text
