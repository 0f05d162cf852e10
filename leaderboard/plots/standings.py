"""A board's standings, a row each method: attacks by drop, defenses by the drop that they leave."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from poisonbench.counted import counted
from poisonbench.leaderboard.attack_standings import AttackStanding
from poisonbench.leaderboard.boards import Board
from poisonbench.leaderboard.defense_standings import DefenseFamily, DefenseStanding
from poisonbench.leaderboard.experiments import of_protocol
from poisonbench.leaderboard.plots.figure_text import name, number
from poisonbench.leaderboard.statistics.summaries import Summary


@dataclass(frozen=True)
class Row:
    """A method.

    Attributes:
        rank: as shown.
        label: its name.
        seeds: the value of each seed that counts; none if it has no number that does.
        summary: the value over the seeds that count, or None without any.
        worst: of a defense, mean drop that is left of the worst attack; None without.
        remark: what a reader must know before trusting the number, or why there is none.
    """

    rank: str
    label: str
    seeds: tuple[float, ...]
    summary: Summary | None
    worst: float | None = None
    remark: str = ""

    @property
    def numbers(self) -> str:
        """Mean and interval in words, then the remark."""
        found = self.summary
        ends = f" [{number(found.interval[0])}, {number(found.interval[1])}]" if found and found.interval else ""
        shown = f"{number(found.mean)}{ends}" if found else ""
        return f"{shown} {self.remark}".strip()


@dataclass(frozen=True)
class Section:
    """Methods that are compared with each other: heading, label of the axis with its unit, and rows, best first."""

    heading: str
    x_label: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Standings:
    """What a figure of a board shows: title, note below it, and sections one below the other."""

    title: str
    note: str
    sections: tuple[Section, ...]


def standings(board: Board) -> Standings:
    """The standings of a board that has at least one."""
    attacks = list(board.attacks)
    usual = _usual([standing.drop.n for standing in attacks if standing.experiment.ranked and standing.drop])
    rows = [_attack(standing, usual) for standing in attacks]
    sections = [Section("attacks, no defense", "drop, points", tuple(rows))] if rows else []
    if len(board.defenses) > 1:
        sections += [_defenses(family, board, usual) for family in board.families]
    note = (
        f"◆ mean of n = {counted(usual, 'seed')}, 95 % interval for other seeds and test images · dots: seeds · one "
        "rank: not told apart, in the family of all that are ranked in one part"
    )
    note += " · ▽ worst attack" if any(row.worst is not None for section in sections for row in section.rows) else ""
    return Standings(f"Standings · {board.title}", note, tuple(sections))


def describe(board: Board) -> str:
    """The figure in a sentence."""
    found = [f"Attacks on {board.title} by mean drop with 95 % intervals"]
    first = next((standing for standing in board.attacks if standing.experiment.ranked), None)
    if first and first.drop:
        label = name(first.experiment.attack_label)
        found.append(f"the largest mean is {number(first.drop.mean)} points, {label}")
    for family in board.families:
        best = family.standings[0]
        if best.residual:
            least = f"{name(best.defense)} leaves the least, {number(best.residual.mean)} points"
            found.append(f"of defenses {family.trust} {least}")
    return "; ".join(found) + "."


def _usual(counts: list[int]) -> int:
    return Counter(counts).most_common(1)[0][0] if counts else 0


def _attack(standing: AttackStanding, usual: int) -> Row:
    own = standing.experiment
    drop = standing.drop if own.ranked else None
    seeds = tuple(own.drops[seed] for seed in of_protocol(own.conditions, own.drops)) if drop else ()
    return Row(
        _rank(standing.rank), name(own.attack_label), seeds, drop, remark=_remark([*standing.badges], drop, usual)
    )


def _defenses(family: DefenseFamily, board: Board, usual: int) -> Section:
    """The section of a family; how many rows it trusts, if that is known."""
    rows = tuple(_defense(standing, board, usual) for standing in family.standings)
    trusted = {one.trusted for one in family.standings} - {None}
    rows_each = f" ({' or '.join(map(str, sorted(filter(None, trusted))))} rows)" if any(trusted) else ""
    among = counted(len(board.yardstick), "attack")
    return Section(f"defenses {family.trust}{rows_each}, over {among}", "residual drop, points (less is better)", rows)


def _defense(standing: DefenseStanding, board: Board, usual: int) -> Row:
    found = standing.residuals
    seeds = tuple(found[seed] for seed in of_protocol(board.conditions, found))
    missing = [f"not against {len(standing.missing)} of {len(board.yardstick)}"] if standing.missing else []
    remark = _remark([*missing, *standing.badges], standing.residual, usual)
    worst = standing.worst.drop.mean if standing.worst else None
    return Row(_rank(standing.rank), name(standing.defense), seeds, standing.residual, worst, remark)


def _rank(rank: int | None) -> str:
    return "–" if rank is None else str(rank)


def _remark(words: list[str], found: Summary | None, usual: int) -> str:
    return ", ".join([*words, *([f"n = {found.n}"] if found and found.n != usual else [])])
