"""What a reader of a board must not forget, as far as its records say."""

from __future__ import annotations

from collections.abc import Iterator

from poisonbench.leaderboard.badges import Tier
from poisonbench.leaderboard.boards import Board

CONTROL = "clean-copies"
"""The attack that repeats clean rows."""

_SMALL_TEST = 2000
"""Fewer test images move an accuracy by more than a twentieth of a point each."""

_SMALL_TRAIN = 5000
"""Fewer rows make a board that shows that something works, and no more."""


def caveats(board: Board) -> Iterator[str]:
    """Sentences about a board, each on its own."""
    data = board.experiments[0].first.dataset
    if board.conditions.earlier:
        yield "Earlier versions of the code made these numbers; they are compared with each other alone."
    if data.n_train < _SMALL_TRAIN:
        yield (
            f"{data.n_train:,} rows are few: such data shows that something works; conclusions belong to larger "
            "protocols."
        )
    if data.n_test < _SMALL_TEST:
        yield f"One of {data.n_test:,} test images is {100 / data.n_test:.2g} points."
    if any(standing.experiment.attack.name == CONTROL for standing in board.attacks):
        yield f"{CONTROL} is the control: an attack that does no better than it has shown nothing."
    if len(board.defenses) > 1:
        told = "; the table of those that do is at the end" if board.informed else ""
        yield f"The ranked attacks do not know which defense they meet{told}."
    if not any(one.tier is Tier.VERIFIED for one in board.experiments):
        yield "Nobody but whoever ran them vouches for these numbers."
