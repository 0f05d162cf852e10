"""The drawings of a board and of a defense for their pages, in the page's colours. The tables draw the rest: a row's
interval and seeds, and the matrix, which is a heat map."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import Executor
from typing import Generic, TypeVar

from markupsafe import Markup

from poisonbench.leaderboard.boards import Board
from poisonbench.leaderboard.conditions import Conditions
from poisonbench.leaderboard.plots.certified import Certificates, certificates
from poisonbench.leaderboard.plots.pareto import Pareto, pareto

Key = TypeVar("Key", bound=Hashable)
Data = TypeVar("Data")


class Figures(Generic[Key]):
    """SVG elements by what they are of."""

    def __init__(self, executor: Executor | None) -> None:
        """The executor draws, while this process goes on; None draws here, when a figure's turn comes."""
        self._executor = executor
        self._drawn: dict[Key, Callable[[], str | None]] = {}

    def begin(self, key: Key, draw: Callable[[Data], str | None], data: Data) -> None:
        """Have one drawn.

        Args:
            key: what it is of.
            draw: a function of a module.
            data: what it draws.
        """
        self._drawn[key] = (lambda: draw(data)) if self._executor is None else self._executor.submit(draw, data).result

    def __call__(self, key: Key) -> Markup | None:
        """The figure of that key; None where there is nothing to draw, or more than fits."""
        svg = self._drawn[key]() if key in self._drawn else None
        return None if svg is None else Markup(svg)  # noqa: S704 (serialised by ElementTree, which escapes its names)


def strength_against_time(boards: Iterable[Board], executor: Executor | None) -> Figures[Conditions]:
    """Drop against the attack's seconds, by board."""
    found = Figures[Conditions](executor)
    for board in boards:
        timed = pareto(board) if len(board.attacks) > 1 else None
        if timed is not None:
            found.begin(board.conditions, _strength, timed)
    return found


def certified_accuracy(boards: Iterable[Board], executor: Executor | None) -> Figures[tuple[Conditions, str]]:
    """What is proven against so many rows, by board and defense, which is empty for all of the board's."""
    found = Figures[tuple[Conditions, str]](executor)
    for board in boards:
        proven = certificates(board)
        if proven:
            for name in ("", *proven.names):
                found.begin((board.conditions, name), _certified, proven.only(name) if name else proven)
    return found


def _strength(timed: Pareto) -> str | None:
    from poisonbench.leaderboard.plots import pareto_figure  # with matplotlib, which nothing else here needs
    from poisonbench.leaderboard.plots.figures import SITE

    if not 1 < len(timed.points) <= pareto_figure.MOST:
        return None
    return pareto_figure.draw(timed, "svg", SITE).decode("utf-8")


def _certified(proven: Certificates) -> str | None:
    from poisonbench.leaderboard.plots import certified_figure
    from poisonbench.leaderboard.plots.figures import SITE

    return (
        certified_figure.draw(proven, "svg", SITE).decode("utf-8")
        if len(proven.proofs) <= certified_figure.MOST
        else None
    )
