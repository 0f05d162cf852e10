"""The drawing of a board for its page, in the page's colours. The tables draw the rest: a row's interval and seeds, and
the matrix, which is a heat map."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Executor

from markupsafe import Markup

from poisonbench.leaderboard.boards import Board
from poisonbench.leaderboard.conditions import Conditions
from poisonbench.leaderboard.plots.pareto import Pareto, pareto

Drawn = Callable[[], str | None]


def strength_against_time(boards: Iterable[Board], executor: Executor | None) -> Callable[[Conditions], Markup | None]:
    """Drop against the attack's seconds, an SVG element for each board; None where there is nothing to compare, or more
    than fits.

    Args:
        boards: to draw.
        executor: who draws, while this process goes on; None draws here, when a board's turn comes.
    """
    drawn: dict[Conditions, Drawn] = {}
    for board in boards:
        timed = pareto(board) if len(board.attacks) > 1 else None
        if timed is not None:
            drawn[board.conditions] = _here(timed) if executor is None else executor.submit(_svg, timed).result

    def figure(conditions: Conditions) -> Markup | None:
        svg = drawn[conditions]() if conditions in drawn else None
        return None if svg is None else Markup(svg)  # noqa: S704 (serialised by ElementTree, which escapes its names)

    return figure


def _here(timed: Pareto) -> Drawn:
    return lambda: _svg(timed)


def _svg(timed: Pareto) -> str | None:
    from poisonbench.leaderboard.plots import pareto_figure  # with matplotlib, which nothing else here needs
    from poisonbench.leaderboard.plots.figures import SITE

    if not 1 < len(timed.points) <= pareto_figure.MOST:
        return None
    return pareto_figure.draw(timed, "svg", SITE).decode("utf-8")
