"""The boards that differ from one in a single thing: its model, its ε or its protocol."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from poisonbench.leaderboard.boards import Board
from poisonbench.leaderboard.conditions import Conditions, Kind


@dataclass(frozen=True)
class Switch:
    """A choice among boards.

    Attributes:
        name: what they differ in.
        choices: of each board what it has there, the board itself among them.
    """

    name: str
    choices: tuple[tuple[str, Conditions], ...]


def switches(board: Board, boards: Iterable[Board]) -> tuple[Switch, ...]:
    """The choices that a board's page offers, without those that leave none.

    Args:
        board: the one that is shown.
        boards: all of them, in the order in which they are offered.
    """
    own, found = board.conditions, [one.conditions for one in boards]
    alike = [one for one in found if one.earlier == own.earlier and one.version == own.version]
    same_rules = [one for one in alike if one.protocol == own.protocol]
    models = [one for one in same_rules if (one.epsilon, one.kind) == (own.epsilon, own.kind)]
    epsilons = sorted((one for one in same_rules if one.model == own.model), key=lambda one: one.epsilon)
    protocols = [one for one in found if _setting(one) == _setting(own)]
    every = (
        Switch("Model", tuple((one.model, one) for one in models)),
        Switch("ε", tuple((_epsilon(one), one) for one in epsilons)),
        Switch("Protocol", tuple((_protocol(one), one) for one in protocols)),
    )
    return tuple(one for one in every if len(one.choices) > 1)


def _setting(one: Conditions) -> tuple[object, ...]:
    return one.dataset, one.model, one.epsilon, one.kind


def _epsilon(one: Conditions) -> str:
    return f"{one.epsilon:g}" + (" (all rows)" if one.kind is Kind.UNLEARNABLE else "")


def _protocol(one: Conditions) -> str:
    return one.protocol + (" (earlier code)" if one.earlier else "")
