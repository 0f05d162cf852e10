"""A gallery of poisoned points: clean source, poisoned image and amplified difference, a column each."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

from matplotlib.figure import Figure

from poisonbench.leaderboard.images.exhibit_grid import COLUMNS, LINE, Grid, finish, page
from poisonbench.leaderboard.images.exhibits import Exhibit, amplification
from poisonbench.leaderboard.plots.figures import DPI, drawing, encode

_LEFT = 0.8 * DPI


def draw(exhibits: Sequence[Exhibit], title: Sequence[str], notes: Sequence[str], format_: str) -> bytes:
    """The figure as a file of that format, one of FORMATS; 6.5 inches wide. The same exhibits give the same bytes.

    Args:
        exhibits: what to show, at least one, all images of one shape.
        title: parts of the first line.
        notes: parts of the second line; the amplification is added.
        format_: png, pdf or svg.
    """
    with drawing():
        return encode(figure(exhibits, title, notes), format_, " · ".join([*title, *notes]))


def figure(exhibits: Sequence[Exhibit], title: Sequence[str], notes: Sequence[str]) -> Figure:
    """The figure, in whichever style is set."""
    heading = _lines(title, 82)
    small = _lines([*notes, f"difference × {amplification(exhibits):g} around mid-grey"], 100)
    grid = Grid(exhibits, math.ceil(len(exhibits) / math.ceil(len(exhibits) / COLUMNS)), _LEFT)
    top = (len(heading) + len(small) + 1) * LINE
    height = math.ceil(top + grid.height + 0.2 * LINE)
    drawn, axes = page(height, heading, small)
    grid.draw(axes, math.ceil(top))
    finish(axes, height)
    return drawn


def _lines(parts: Sequence[str], width: int) -> list[str]:
    """The parts with dots between, in lines of at most that many characters; a line breaks between parts."""
    whole = [part.replace(" ", "\N{NO-BREAK SPACE}") for part in parts]
    lines = textwrap.wrap("\N{NO-BREAK SPACE}· ".join(whole), width, break_on_hyphens=False)
    return [line.removesuffix("\N{NO-BREAK SPACE}·") for line in lines]
