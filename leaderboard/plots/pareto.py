"""What an attack's seconds buy: drop against time, and the attacks that no other beats in both."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from poisonbench.leaderboard.boards import NONE, Board, Place
from poisonbench.leaderboard.plots.figure_text import name, number
from poisonbench.leaderboard.statistics.summaries import Summary
from poisonbench.store.record import Record


@dataclass(frozen=True)
class Point:
    """An attack.

    Attributes:
        label: its name.
        seconds: mean over its seeds.
        drop: over its seeds, points.
        comparable: whether all its records are of the one machine whose seconds are compared.
        front: whether it is comparable, and no other that is is both stronger and faster.
    """

    label: str
    seconds: float
    drop: Summary
    comparable: bool
    front: bool


@dataclass(frozen=True)
class Pareto:
    """The attacks of a board against one defense.

    Attributes:
        title: the board, and the defense if there is one.
        machine: whose seconds are compared: the one that most attacks ran on.
        points: fastest first.
    """

    title: str
    machine: str
    points: tuple[Point, ...]

    @property
    def front(self) -> list[Point]:
        """Fastest first, and therefore weakest first."""
        return [point for point in self.points if point.front]


def pareto(board: Board, defense: str = NONE) -> Pareto | None:
    """The ranked attacks of a board that have seconds, or None if there is none. One whose seconds round to nothing,
    because its poison set was there before, has no place on a log axis."""
    timed = [
        (place, seconds.mean, drop)
        for place in board.places
        if place.ranked and place.defense == defense and (drop := place.drop)
        if (seconds := place.attack_seconds) and seconds.mean > 0
    ]
    if not timed:
        return None
    used = Counter(one for place, _, _ in timed for one in _machines(place))
    machine = max(sorted(used), key=lambda one: used[one])
    own = [(seconds, -drop.mean) for place, seconds, drop in timed if _machines(place) == {machine}]
    usual = Counter(drop.n for _, _, drop in timed).most_common(1)[0][0]
    points = [
        Point(
            name(place.attack) + (f" (n = {drop.n})" if drop.n != usual else ""),
            seconds,
            drop,
            comparable=_machines(place) == {machine},
            front=_machines(place) == {machine} and not _beaten((seconds, -drop.mean), own),
        )
        for place, seconds, drop in timed
    ]
    title = str(board.key) if defense == NONE else f"{board.key} · {name(defense)}"
    return Pareto(title, machine, tuple(sorted(points, key=lambda point: (point.seconds, point.label))))


def describe(found: Pareto) -> str:
    """The figure in a sentence."""
    front = ", ".join(
        f"{point.label} ({number(point.drop.mean)} points, {point.seconds:.3g} s)" for point in found.front
    )
    return (
        f"Mean drop against the attack's seconds on {found.title}, {len(found.points)} attacks; "
        f"none is both stronger and faster than {front or 'another'}."
    )


def _beaten(own: tuple[float, float], others: list[tuple[float, float]]) -> bool:
    return any(one[0] <= own[0] and one[1] <= own[1] and one != own for one in others)


def _machines(place: Place) -> set[str]:
    return {_machine(record) for record in place.records.values()}


def _machine(record: Record) -> str:
    """What seconds depend on, in words."""
    found = record.environment
    threads = f"{found.threads} thread{'s' * (found.threads != 1)}"
    return " · ".join(part for part in (found.gpu, found.cpu, threads) if part)
