"""What an attack's seconds buy: drop against time, and the attacks that no other beats in both."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from poisonbench.counted import counted
from poisonbench.leaderboard.badges import signed
from poisonbench.leaderboard.boards import Board
from poisonbench.leaderboard.experiments import Experiment
from poisonbench.leaderboard.methods import NO_DEFENSE
from poisonbench.leaderboard.plots.figure_text import name, number
from poisonbench.leaderboard.statistics.summaries import Summary
from poisonbench.leaderboard.values import VALUES
from poisonbench.store.record import Record


@dataclass(frozen=True)
class TimedAttack:
    """An attack by its strength and its time.

    Attributes:
        label: its name.
        seconds: mean over its seeds.
        drop: over its seeds, points.
        comparable: whether all its records are of the one machine whose seconds are compared.
        front: whether it is comparable, and no other that is is both stronger and faster.
        mixed_code: whether its numbers are means over seeds of different code.
    """

    label: str
    seconds: float
    drop: Summary
    comparable: bool
    front: bool
    mixed_code: bool


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
    points: tuple[TimedAttack, ...]

    @property
    def front(self) -> list[TimedAttack]:
        """The attacks of the front, fastest first, and therefore weakest first."""
        return [point for point in self.points if point.front]


def pareto(board: Board, defense: str = NO_DEFENSE) -> Pareto | None:
    """The ranked attacks of a board that have seconds, or None if there is none. One whose seconds round to nothing,
    because its poison set was there before, has no place on a log axis."""
    timed = [
        (one, seconds.mean, drop)
        for one in board.experiments
        if one.ranked and one.defense_label == defense and (drop := one.drop)
        if (seconds := one.over_seeds(VALUES["attack-time"].of)) and seconds.mean > 0
    ]
    if not timed:
        return None
    used = Counter(found for one, _, _ in timed for found in _machines(one))
    machine = max(sorted(used), key=lambda found: used[found])
    own = [(seconds, -drop.mean) for one, seconds, drop in timed if _machines(one) == {machine}]
    usual = Counter(drop.n for _, _, drop in timed).most_common(1)[0][0]
    points = [
        TimedAttack(
            signed(name(one.attack_label) + (f" (n = {drop.n})" if drop.n != usual else ""), one.mixed_code),
            seconds,
            drop,
            comparable=_machines(one) == {machine},
            front=_machines(one) == {machine} and not _beaten((seconds, -drop.mean), own),
            mixed_code=one.mixed_code,
        )
        for one, seconds, drop in timed
    ]
    title = board.title if defense == NO_DEFENSE else f"{board.title} · {name(defense)}"
    return Pareto(title, machine, tuple(sorted(points, key=lambda point: (point.seconds, point.label))))


def describe(found: Pareto) -> str:
    """The figure in a sentence."""
    front = ", ".join(
        f"{point.label} ({number(point.drop.mean)} points, {point.seconds:.3g} s)" for point in found.front
    )
    return (
        f"Mean drop against the attack's seconds on {found.title}, {counted(len(found.points), 'attack')}; "
        f"none is both stronger and faster than {front or 'another'}."
    )


def _beaten(own: tuple[float, float], others: list[tuple[float, float]]) -> bool:
    return any(one[0] <= own[0] and one[1] <= own[1] and one != own for one in others)


def _machines(one: Experiment[Record]) -> set[str]:
    return {_machine(record) for record in one.records.values()}


def _machine(record: Record) -> str:
    """What seconds depend on, in words."""
    found = record.environment
    threads = counted(found.threads, "thread")
    return " · ".join(part for part in (found.gpu, found.cpu, threads) if part)
