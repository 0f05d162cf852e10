"""Boards as tables, for a terminal and in Markdown."""

from __future__ import annotations

from rich.table import Table

from poisonbench.leaderboard.aggregate import Board, Entry


def terminal(board: Board) -> Table:
    """A rich table, to go below the heading: attacks down, defenses across, mean drop ± std."""
    table = Table(box=None, pad_edge=False)
    table.add_column("attack")
    for defense in board.defenses:
        table.add_column(defense, justify="right")
    for attack in board.attacks:
        table.add_row(attack, *(cell(board.entries.get((attack, defense))) for defense in board.defenses))
    return table


def markdown(board: Board) -> str:
    """The same as Markdown."""
    lines = [f"**{heading(board)}**", ""]
    if not board.entries:
        return "\n".join([*lines, "No ranked records."]) + "\n"
    lines += [
        f"| attack | {' | '.join(board.defenses)} |",
        f"| --- |{' ---: |' * len(board.defenses)}",
    ]
    for attack in board.attacks:
        cells = (cell(board.entries.get((attack, defense))) for defense in board.defenses)
        lines.append(f"| {attack} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def heading(board: Board) -> str:
    """What the board compares, and what it left out."""
    left_out = [f"{n} {word}" for n, word in ((board.unranked, "unranked"), (board.failed, "failed")) if n]
    tail = f"; left out: {', '.join(left_out)}" if left_out else ""
    return (
        f"{board.protocol} · {board.model} · ε = {board.epsilon:g} · accuracy drop in points, mean ± std (seeds){tail}"
    )


def cell(entry: Entry | None) -> str:
    """An entry as text, such as "2.79 ± 0.07 (3)"."""
    if entry is None:
        return "–"
    spread = "" if entry.std is None else f" ± {entry.std:.2f}"
    return f"{entry.drop:.2f}{spread} ({entry.seeds})"
