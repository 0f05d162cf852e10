"""A board's standings as forest plots: attacks by drop, defenses by the drop that they leave."""

from __future__ import annotations

from collections import Counter

from matplotlib.figure import Figure

from poisonbench.leaderboard.badges import Badge
from poisonbench.leaderboard.boards import AttackStanding, Board, DefenseStanding
from poisonbench.leaderboard.plots import forest
from poisonbench.leaderboard.plots.figure_text import name, number
from poisonbench.leaderboard.plots.figures import PAPER, Look, drawing, encode
from poisonbench.leaderboard.plots.forest import Row, Section

MOST = 60
"""More attacks and defenses than this are taller than a page."""


def draw(board: Board, format_: str, look: Look = PAPER) -> bytes:
    """The figure as a file of that format, one of FORMATS; 6.5 inches wide. The same board gives the same bytes.

    The board has at least one standing.
    """
    with drawing(look):
        return encode(figure(board, look), format_, describe(board), look)


def describe(board: Board) -> str:
    """The figure in a sentence."""
    found = [f"Attacks on {board.title} by mean drop with 95 % intervals"]
    first = next((standing.experiment for standing in board.attacks if standing.experiment.ranked), None)
    if first and first.drop:
        found.append(f"the largest mean is {number(first.drop.mean)} points, {name(first.attack_label)}")
    best = board.defenses[0] if board.defenses else None
    if best and best.residual:
        found.append(f"of defenses {name(best.defense)} leaves the least, {number(best.residual.mean)} points")
    return "; ".join(found) + "."


def figure(board: Board, look: Look = PAPER) -> Figure:
    """The figure, in whichever style is set."""
    attacks = list(board.attacks)
    usual = _usual([len(standing.experiment.records) for standing in attacks if standing.experiment.ranked])
    rows = [_attack(standing, usual) for standing in attacks]
    sections = [Section("attacks, no defense", "drop, points", tuple(rows))] if rows else []
    if len(board.defenses) > 1:
        among = f"{len(board.yardstick)} attack{'s' * (len(board.yardstick) != 1)}"
        defenses = tuple(_defense(standing, board, usual) for standing in board.defenses)
        sections.append(Section(f"defenses, over {among}", "residual drop, points (less is better)", defenses))
    note = f"◆ mean of n = {usual} seeds, 95 % interval · dots: seeds · one rank: a paired test finds no difference"
    return forest.figure(f"Standings · {board.title}", note, sections, look)


def _usual(counts: list[int]) -> int:
    return Counter(counts).most_common(1)[0][0] if counts else 0


def _attack(standing: AttackStanding, usual: int) -> Row:
    own = standing.experiment
    seeds = tuple(own.drops.values()) if own.ranked else ()
    return Row(_rank(standing.rank), name(own.attack_label), seeds, _remark([*own.badges], len(seeds), usual))


def _defense(standing: DefenseStanding, board: Board, usual: int) -> Row:
    seeds = tuple(standing.residuals.values())
    missing = [f"not against {len(standing.missing)} of {len(board.yardstick)}"] if standing.missing else []
    words = [*missing, *([Badge.MIXED_CODE] if standing.mixed_code else [])]
    return Row(_rank(standing.rank), name(standing.defense), seeds, _remark(words, len(seeds), usual))


def _rank(rank: int | None) -> str:
    return "–" if rank is None else str(rank)


def _remark(words: list[str], n: int, usual: int) -> str:
    return ", ".join([*words, *([f"n = {n}"] if n and n != usual else [])])
