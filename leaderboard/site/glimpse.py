"""The boards of one dataset as the index shows them: small drawings on a scale that they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from poisonbench.leaderboard.methods import NO_DEFENSE
from poisonbench.leaderboard.site.board_view import BoardView
from poisonbench.leaderboard.site.scale import Scale
from poisonbench.leaderboard.statistics.summaries import Summary


@dataclass(frozen=True)
class Lane:
    """A line of a drawing: the entries of one ranking.

    Attributes:
        title: what they are.
        leader: the first.
        others: means of those behind it.
    """

    title: str
    leader: Summary
    others: tuple[float, ...]


@dataclass(frozen=True)
class Glimpse:
    """A board in two or three lines."""

    view: BoardView
    lanes: tuple[Lane, ...]


@dataclass(frozen=True)
class Group:
    """The boards of a dataset.

    Attributes:
        dataset: its name.
        scale: of all their drawings, points.
        glimpses: in the order of the boards.
    """

    dataset: str
    scale: Scale
    glimpses: tuple[Glimpse, ...]


def groups(views: Sequence[BoardView]) -> list[Group]:
    """Those of what counts now, by dataset, in the order of the views."""
    by_dataset: dict[str, list[Glimpse]] = {}
    for view in views:
        if not view.board.conditions.earlier:
            by_dataset.setdefault(view.board.conditions.dataset, []).append(Glimpse(view, _lanes(view)))
    return [
        Group(name, Scale.over(lane.leader for one in found for lane in one.lanes), tuple(found))
        for name, found in by_dataset.items()
    ]


def _lanes(view: BoardView) -> tuple[Lane, ...]:
    ranked = [("drop by attack", [one.drop for one in view.board.attacks if one.rank])]
    ranked += [
        (f"left by defense {family.trust}", [one.residual for one in family.standings if one.rank])
        for family in view.board.families
        if tuple(family.ranking.ranks) != (NO_DEFENSE,)
    ]
    return tuple(_lane(title, [one for one in every if one]) for title, every in ranked if every)


def _lane(title: str, every: Sequence[Summary]) -> Lane:
    return Lane(title, every[0], tuple(one.mean for one in every[1:]))
