"""A study's curves as a figure: a panel each row, a line each column, the paper's own numbers beside them."""

from __future__ import annotations

from matplotlib.figure import Figure

from poisonbench.leaderboard.plots import lines_figure
from poisonbench.leaderboard.plots.lines import Chart, Point
from poisonbench.leaderboard.studies.results import StudyResults
from poisonbench.leaderboard.values import VALUES


def draw(results: StudyResults, format_: str) -> bytes:
    """The figure as a file of that format, one of FORMATS; 6.5 inches wide. The same results give the same bytes.

    It shows the first of the study's values: its mean over seeds, with the 95 % interval where there is one, and each
    seed's. Where no record has that value the line has a gap.
    """
    return lines_figure.draw(_chart(results), format_)


def figure(results: StudyResults) -> Figure:
    """The figure, in whichever style is set."""
    return lines_figure.figure(_chart(results))


def _chart(results: StudyResults) -> Chart:
    value = results.shows[0]
    panels: dict[str, dict[str, tuple[Point, ...]]] = {}
    columns = list(dict.fromkeys(entry.column for entry in results.entries if entry.x is not None))
    for entry in results.entries:
        if entry.x is not None:
            panel = panels.setdefault(entry.row, dict.fromkeys(columns, ()))
            x = 100 * entry.x if results.percent else entry.x
            panel[entry.column] += (Point.of(x, entry.records, value, entry.printed.get(value)),)
    return Chart(
        f"{results.title} ({results.name}, profile {results.profile})",
        results.x_label or "",
        "drop, points" if value == "drop" else VALUES[value].heading,
        panels,
    )
