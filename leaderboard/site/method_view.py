"""An attack or a defense as its page shows it: what it is, and how it did everywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from poisonbench.leaderboard.badges import Badge
from poisonbench.leaderboard.boards import Board
from poisonbench.leaderboard.experiments import Experiment
from poisonbench.leaderboard.site.board_view import BoardView
from poisonbench.leaderboard.site.declarations import citations, declaration
from poisonbench.leaderboard.site.gallery import Picture
from poisonbench.leaderboard.statistics.summaries import Summary
from poisonbench.store.record import Record


@dataclass(frozen=True)
class Part:
    """One of several methods joined by +, or the method itself: name, summary and the package that it is from."""

    name: str
    summary: str
    source: str


@dataclass(frozen=True)
class Standing:
    """How a method did on a board.

    Attributes:
        board: the board.
        label: with its settings.
        rank: or None.
        of: how many are ranked there.
        value: an attack's drop, or what a defense leaves of it.
        cost: an attack's seconds, or a defense's clean cost.
        badges: of an attack; of a defense whether its code is mixed.
        efficient: of a defense.
    """

    board: Board
    label: str
    rank: int | None
    of: int
    value: Summary | None
    cost: Summary | None
    badges: tuple[Badge, ...] = ()
    efficient: bool = False


@dataclass(frozen=True)
class Result:
    """An experiment of a method, and the board that it is on."""

    board: Board
    experiment: Experiment[Record]


@dataclass(frozen=True)
class MethodView:
    """What the page of a method shows; lists are in the order of the boards."""

    kind: str
    name: str
    parts: tuple[Part, ...]
    standings: tuple[Standing, ...]
    results: tuple[Result, ...]
    gallery: tuple[Picture, ...]
    citations: tuple[str, ...]


def views(
    kind: str, names: Sequence[str], boards: Sequence[BoardView], gallery: Mapping[str, Sequence[Picture]]
) -> list[MethodView]:
    """The view of every attack or defense.

    Args:
        kind: attack or defense.
        names: of them.
        boards: all of them.
        gallery: pictures by attack.
    """
    standings: dict[str, list[Standing]] = {name: [] for name in names}
    results: dict[str, list[Result]] = {name: [] for name in names}
    for board in boards:
        for standing in _standings(kind, board.board):
            standings[board.names[kind, standing.label]].append(standing)
        for one in board.board.experiments:
            results[(one.attack if kind == "attack" else one.defense).name].append(Result(board.board, one))
    return [
        MethodView(
            kind,
            name,
            tuple(_part(kind, part) for part in name.split("+")),
            tuple(standings[name]),
            tuple(results[name]),
            tuple(gallery.get(name, ())) if kind == "attack" else (),
            citations(kind, name),
        )
        for name in names
    ]


def _part(kind: str, name: str) -> Part:
    found = declaration(kind, name)
    return Part(name, found.summary, found.source)


def _standings(kind: str, board: Board) -> list[Standing]:
    if kind == "attack":
        ranked = sum(standing.rank is not None for standing in board.attacks)
        return [
            Standing(board, one.attack_label, standing.rank, ranked, one.drop, standing.seconds, one.badges)
            for standing in board.attacks
            for one in (standing.experiment,)
        ]
    ranked = sum(one.rank is not None for one in board.defenses)
    return [
        Standing(
            board,
            one.defense,
            one.rank,
            ranked,
            one.residual,
            one.clean_cost,
            (Badge.MIXED_CODE,) if one.mixed_code else (),
            one.efficient,
        )
        for one in board.defenses
    ]
