"""An attack or a defense as its page shows it: what it is, and how it did everywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from poisonbench.leaderboard.boards import Badge, Board, Key, Place
from poisonbench.leaderboard.site.board_view import BoardView, first
from poisonbench.leaderboard.site.citations import citations
from poisonbench.leaderboard.site.declarations import declaration
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
    """How it did on a board.

    Attributes:
        key: of the board.
        label: with its settings.
        rank: or None.
        of: how many are ranked there.
        value: an attack's drop, or what a defense leaves of it.
        cost: an attack's seconds, or a defense's clean cost.
        badges: of an attack.
        efficient: of a defense.
    """

    key: Key
    label: str
    rank: int | None
    of: int
    value: Summary | None
    cost: Summary | None
    badges: tuple[Badge, ...] = ()
    efficient: bool = False


@dataclass(frozen=True)
class Result:
    """A place that it has, and the record that leads there."""

    key: Key
    place: Place
    drop: Summary | None
    record: Record


@dataclass(frozen=True)
class MethodView:
    """What the page shows; lists in the order of the boards."""

    kind: str
    name: str
    parts: tuple[Part, ...]
    standings: tuple[Standing, ...]
    places: tuple[Result, ...]
    gallery: tuple[Picture, ...]
    citations: tuple[str, ...]


def views(
    kind: str, names: Sequence[str], boards: Sequence[BoardView], gallery: Mapping[str, Sequence[Picture]]
) -> list[MethodView]:
    """Of every attack or defense.

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
        for place in board.board.places:
            record, cell = first(place), board.cells.get((place.attack, place.defense))
            drop = cell.drop if cell and cell.place is place else place.drop
            results[getattr(record, kind).name].append(Result(board.board.key, place, drop, record))
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
        ranked, places = sum(one.rank is not None for one in board.attacks), [one.place for one in board.attacks]
        return [
            Standing(board.key, place.attack, one.rank, ranked, place.drop, place.attack_seconds, place.badges)
            for one, place in zip(board.attacks, places, strict=True)
        ]
    ranked = sum(one.rank is not None for one in board.defenses)
    return [
        Standing(board.key, one.defense, one.rank, ranked, one.residual, one.clean_cost, (), one.efficient)
        for one in board.defenses
    ]
