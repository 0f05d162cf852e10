"""The legend of a figure: below its panels, never over data."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.artist import Artist
from matplotlib.figure import Figure

from poisonbench.leaderboard.plots.figure_text import CHARACTER, lines, wrapped
from poisonbench.leaderboard.plots.figures import WIDTH

_HANDLE = 0.55
"""A line's sample with the space around it, inches."""


def legend_below(drawn: Figure, handles: Sequence[Artist]) -> int:
    """Draw the legend below a figure whose layout is constrained; returns how many lines of text it is high."""
    labels = [wrapped(str(handle.get_label()), WIDTH / 2 - 0.7) for handle in handles]
    widths = [max(map(len, label.split("\n"))) * CHARACTER + _HANDLE for label in labels]
    most = len(labels) if sum(widths) <= WIDTH else max(1, int(WIDTH / max(widths)))
    rows = math.ceil(len(labels) / most)
    columns = math.ceil(len(labels) / rows)
    drawn.legend(handles, labels, loc="outside lower center", ncols=columns, handlelength=3, frameon=False)
    return rows * max(map(lines, labels))
