"""The drawing of a board for its page, in the page's colours. The tables draw the rest: a row's interval and seeds, and
the matrix, which is a heat map."""

from __future__ import annotations

from markupsafe import Markup

from poisonbench.leaderboard.boards import Board


def strength_against_time(board: Board) -> Markup | None:
    """Drop against the attack's seconds, an SVG element; None where there is nothing to compare, or more than fits."""
    if len(board.attacks) < 2:
        return None
    from poisonbench.leaderboard.plots import pareto_plot  # with matplotlib, which nothing else here needs
    from poisonbench.leaderboard.plots.figures import SITE
    from poisonbench.leaderboard.plots.pareto import pareto

    timed = pareto(board)
    if timed is None or not 1 < len(timed.points) <= pareto_plot.MOST:
        return None
    svg = pareto_plot.draw(timed, "svg", SITE).decode("utf-8")
    return Markup(svg)  # noqa: S704 (serialised by ElementTree, which escapes the names in it)
