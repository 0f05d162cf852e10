"""Attacks by defenses as a heat map: every cell holds its number."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from poisonbench.leaderboard.badges import SIGN
from poisonbench.leaderboard.boards import Board
from poisonbench.leaderboard.experiments import Experiment
from poisonbench.leaderboard.plots.figure_text import TEXT, lines, name, number, wrapped
from poisonbench.leaderboard.plots.figures import PAPER, WIDTH, Look, drawing, encode, measured
from poisonbench.leaderboard.plots.heatmap import (
    attacks,
    caption,
    defenses,
    describe,
    facing,
    ranked_drops,
    usual_seeds,
)
from poisonbench.store.record import Record

MOST_ATTACKS = 26
"""More do not fit a page's height."""

MOST_DEFENSES = 12
"""More leave no room for the numbers."""

_CELL = 0.3
_WIDEST = 0.9
_NAMES = 1.5
_BAR = 0.6
"""Height of the colour bar with its label; lengths are in inches."""

_COLOURS = "RdBu_r"
_TURN = 35
"""Degrees that the defenses' names are turned by."""


def draw(board: Board, format_: str, look: Look = PAPER) -> bytes:
    """The figure as a file of that format, one of FORMATS; 6.5 inches wide. The same board gives the same bytes.

    The board has an experiment that is ranked.
    """
    with drawing(look):
        return encode(figure(board, look), format_, describe(board), look)


def figure(board: Board, look: Look = PAPER) -> Figure:
    """The figure, in whichever style is set."""
    rows, columns = attacks(board), defenses(board)
    labels = [wrapped(name(row), _NAMES) for row in rows]
    heads = [wrapped(name(column), _NAMES) for column in columns]
    left = max(measured(label)[0] for label in labels) + 0.12
    widest = max(measured(head)[0] for head in heads)
    turn = np.radians(_TURN)
    lean = widest * float(np.cos(turn))
    room = WIDTH - left - 0.05
    wide = min(_WIDEST, room / len(columns), (room - lean - 0.1) / (len(columns) - 0.5))
    straight = widest < min(_WIDEST, room / len(columns)) - 0.04
    wide = min(_WIDEST, room / len(columns)) if straight else wide
    title, note = wrapped(f"Drop · {board.title}", WIDTH - 0.8), wrapped(caption(board), WIDTH)
    above = (lines(title) + lines(note)) * TEXT + 0.15
    above += (max(map(lines, heads)) * TEXT + 0.08) if straight else widest * float(np.sin(turn)) + TEXT + 0.05
    apart = any(drop.n != usual_seeds(board) for _, drop in ranked_drops(board))
    tall = max(_CELL + (TEXT if apart else 0), max(map(lines, labels)) * TEXT)
    size = wide * len(columns), tall * len(rows)
    height = above + size[1] + _BAR
    drawn = Figure(figsize=(WIDTH, height))
    drawn.text(0.02 / WIDTH, 1 - 0.04 / height, title, fontsize=8, va="top")
    drawn.text(0.02 / WIDTH, 1 - (0.06 + lines(title) * TEXT) / height, note, va="top", alpha=0.8)
    axis = drawn.add_axes((left / WIDTH, _BAR / height, size[0] / WIDTH, size[1] / height))
    colours = ScalarMappable(_range(board), colormaps[_COLOURS])
    for down, row in enumerate(rows):
        for across, column in enumerate(columns):
            _cell(axis, (across, down), facing(board, row, column), colours, look, usual_seeds(board))
    axis.set(xlim=(0, len(columns)), ylim=(len(rows), 0))
    axis.set_yticks(np.arange(len(rows)) + 0.5, labels)
    turned: dict[str, Any] = {} if straight else {"rotation": _TURN, "ha": "left", "rotation_mode": "anchor"}
    axis.xaxis.tick_top()
    axis.set_xticks(np.arange(len(columns)) + 0.5, heads, **turned)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    bar = drawn.add_axes((left / WIDTH, 0.38 / height, min(3.0, size[0]) / WIDTH, 0.08 / height))
    drawn.colorbar(colours, cax=bar, orientation="horizontal", label="mean drop, points")
    return drawn


def _cell(
    axis: Axes, at: tuple[int, int], there: list[Experiment[Record]], colours: ScalarMappable, look: Look, usual: int
) -> None:
    ranked = next((one for one in there if one.ranked), None)
    drop = ranked.drop if ranked else None
    words = "\n".join(dict.fromkeys(str(badge) for one in there for badge in one.badges[:1]))
    ground = _colour(drop.mean, colours) if drop else None
    hatch = None if there else "////"
    axis.add_patch(
        Rectangle(at, 1, 1, facecolor=ground or "none", edgecolor=look.ink, linewidth=0.3, hatch=hatch, clip_on=False)
    )
    if ranked and drop and ground:
        spread = "" if drop.std is None else f"\n± {number(drop.std)}"
        few = f"\nn = {drop.n}" if drop.n != usual else ""
        shown = f"{number(drop.mean)}{SIGN if ranked.mixed_code else ''}{spread}{few}"
        axis.text(at[0] + 0.5, at[1] + 0.5, shown, color=_on(ground), ha="center", va="center")
    elif there:
        axis.text(at[0] + 0.5, at[1] + 0.5, words, ha="center", va="center", alpha=0.8)


def _colour(drop: float, colours: ScalarMappable) -> tuple[float, ...]:
    return tuple(colours.to_rgba(np.array([drop]))[0].tolist())


def _on(ground: tuple[float, ...]) -> str:
    """Black or white, whichever is easier to read on that colour, by WCAG's relative luminance."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in ground[:3]]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "black" if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) else "white"


def _range(board: Board) -> Normalize:
    """The range of the colours, the same on both sides of 0, so that white is no drop."""
    return Normalize(-board.reach, board.reach)
