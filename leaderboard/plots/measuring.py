"""How much room a text takes."""

from __future__ import annotations

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from poisonbench.leaderboard.plots.figure_text import lines


def measured(text: str, points: float = 7) -> tuple[float, float]:
    """Width and height of a text of one or more lines, inches; within `figures.drawing`."""
    font = FontProperties(size=points)
    widths = [text_to_path.get_text_width_height_descent(line, font, False)[0] for line in text.split("\n")]
    return max(widths) / 72, lines(text) * points * 1.2 / 72
