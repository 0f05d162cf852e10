"""In which order the boards of a site come: what most readers look for first."""

from __future__ import annotations

from collections.abc import Iterable

from poisonbench.leaderboard.boards import Board


def in_order(boards: Iterable[Board]) -> tuple[Board, ...]:
    """The dataset with the most rows first, the latest version of a protocol, the model with the most parameters;
    attacks that perturb rows after those that add some, and earlier code after everything."""
    found = list(boards)
    rows: dict[str, int] = {}
    for board in found:
        name = board.conditions.dataset
        rows[name] = max(rows.get(name, 0), board.experiments[0].first.dataset.n_train)

    def key(board: Board) -> tuple[bool, int, str, bool, int, str, int, float, str]:
        one = board.conditions
        return (
            one.earlier,
            -rows[one.dataset],
            one.dataset,
            board.experiments[0].first.threat.mode != "addition",
            -one.version,
            one.protocol,
            -board.experiments[0].first.model.n_params,
            one.epsilon,
            board.title,
        )

    return tuple(sorted(found, key=key))
