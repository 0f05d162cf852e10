"""Attacks by defenses as a heat map shows them: rows, columns and what stands where they meet."""

from __future__ import annotations

from collections import Counter

from poisonbench.counted import counted
from poisonbench.leaderboard.badges import NOTE
from poisonbench.leaderboard.boards import Board
from poisonbench.leaderboard.experiments import Experiment
from poisonbench.leaderboard.plots.figure_text import DOT, name, number
from poisonbench.leaderboard.statistics.summaries import Summary
from poisonbench.leaderboard.trust import Trust
from poisonbench.store.record import Record


def describe(board: Board) -> str:
    """The figure in a sentence."""
    drops = sorted(
        (drop.mean, f"{name(one.attack_label)} against {name(one.defense_label)}") for one, drop in ranked_drops(board)
    )
    size = f"{counted(len(attacks(board)), 'attack')} against {counted(len(defenses(board)), 'defense')}"
    (low, where_low), (high, where_high) = drops[0], drops[-1]
    ends = f"from {number(low)} points ({where_low}) to {number(high)} ({where_high})"
    return f"Mean drop of {size} on {board.title}: {ends}."


def attacks(board: Board) -> list[str]:
    """The rows: attacks in the order of their standing, those without one last."""
    standing = [standing.experiment.attack_label for standing in board.attacks]
    return list(dict.fromkeys([*standing, *(one.attack_label for one in board.experiments)]))


def defenses(board: Board) -> list[str]:
    """The columns: defenses in the order of their standing, those without one last."""
    standing = [standing.defense for standing in board.defenses]
    return list(dict.fromkeys([*standing, *(one.defense_label for one in board.experiments)]))


def ranked_drops(board: Board) -> list[tuple[Experiment[Record], Summary]]:
    """The ranked experiments with their drops."""
    return [(one, drop) for one in board.experiments if one.ranked and (drop := one.drop)]


def facing(board: Board, attack: str, defense: str) -> list[Experiment[Record]]:
    """The experiments of an attack against a defense, ranked or not."""
    return [one for one in board.experiments if (one.attack_label, one.defense_label) == (attack, defense)]


def usual_seeds(board: Board) -> int:
    """The number of seeds that most drops have."""
    return Counter(drop.n for _, drop in ranked_drops(board)).most_common(1)[0][0]


def caption(board: Board) -> str:
    """What a reader must know, for below the title."""
    there = {(one.attack_label, one.defense_label) for one in board.experiments}
    missing = len(there) < len(attacks(board)) * len(defenses(board))
    seeds = counted(usual_seeds(board), "seed")
    parts = [f"mean ± std of the drop, points, n = {seeds}", "rows: strongest attack first"]
    with_trusted = any(family.trust is Trust.WITH for family in board.families)
    last = ", those with trusted data last" if with_trusted else ""
    parts += [f"columns: best defense first{last}", *(["hatched: no record"] if missing else [])]
    return DOT.join([*parts, *([NOTE] if any(one.mixed_code for one, _ in ranked_drops(board)) else [])])
