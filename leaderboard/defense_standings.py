"""Defenses against the attacks of a board: who leaves least, over the seeds that count."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from poisonbench.leaderboard.badges import Badge
from poisonbench.leaderboard.counting import notes, stacked
from poisonbench.leaderboard.experiments import Experiment
from poisonbench.leaderboard.methods import NO_DEFENSE, Method
from poisonbench.leaderboard.residuals import Residuals, Worst
from poisonbench.leaderboard.statistics.ranking import Ranking, rank
from poisonbench.leaderboard.statistics.summaries import LEVEL, Summary
from poisonbench.leaderboard.statistics.two_way import TwoWay, measured, two_way
from poisonbench.leaderboard.trust import Trust
from poisonbench.store.record import Record

Order = Literal["mean", "worst"]
"""Of defenses: by the mean of what is left over the attacks, or by what is left of the worst attack."""

ORDERS: tuple[Order, ...] = get_args(Order)


@dataclass(frozen=True)
class DefenseStanding:
    """A defense against the board's attacks.

    Attributes:
        rank: from 1, by residual drop, within its family, shared by defenses that cannot be told apart; None if it was
            not tested with the others, or if an attack of the yardstick is missing.
        defense: label.
        trusted: how many trusted rows it was shown; None if no record says.
        residuals: drop that is left by seed: the mean over the yardstick's attacks; empty if one is missing.
        residual: over the seeds that count, or those of them that it has; None without any.
        against_none: what it leaves less what no defense leaves, over the seeds that count; None of no defense itself,
            or without answers.
        worst: the attack of the yardstick that most is left of, over the same seeds; None if one is missing.
        clean_cost: acc1 less the accuracy with the defense and no poison, over seeds; None if no record has it.
        removed: how many rows it takes away, mean over the yardstick's attacks; None if no record says, or if one is
            missing.
        missing: attacks of the yardstick that it has no ranked record against.
        efficient: no other ranked defense of its family, nor no defense at all, has both a smaller residual drop and a
            smaller clean cost.
        mixed_code: whether an experiment that the residual drop is a mean of has seeds of different code.
        notes: why it has no rank, and what of its seeds counts.
    """

    rank: int | None
    defense: str
    trusted: int | None
    residuals: Mapping[int, float]
    residual: Summary | None
    against_none: TwoWay | None
    worst: Worst | None
    clean_cost: Summary | None
    removed: float | None
    missing: tuple[str, ...]
    efficient: bool
    mixed_code: bool = False
    notes: tuple[str, ...] = ()

    @property
    def badges(self) -> tuple[str, ...]:
        """What a reader must know of it."""
        return (*([Badge.MIXED_CODE] if self.mixed_code else []), *self.notes)

    @property
    def told_from_none(self) -> bool | None:
        """Whether it differs from no defense; None if it could not be tested."""
        return None if self.against_none is None else self.against_none.p <= LEVEL


@dataclass(frozen=True)
class DefenseFamily:
    """Defenses that are ranked among themselves: those with trusted data, or those without.

    Attributes:
        trust: which of the two.
        standings: in the order that was asked for, best first. No defense stands with those without; those with are
            told from it as well.
        ranking: of those that are ranked, one setting a method; by the mean, whatever the order.
    """

    trust: Trust
    standings: tuple[DefenseStanding, ...]
    ranking: Ranking

    @property
    def leader(self) -> DefenseStanding | None:
        """The first that has a rank."""
        first = next(iter(self.ranking.ranks), None)
        return next((one for one in self.standings if one.defense == first), None)


def defense_families(
    shown: Iterable[Experiment[Record]],
    main: frozenset[Method],
    seeds: tuple[int, ...],
    yardstick: tuple[str, ...],
    order: Order,
) -> tuple[DefenseFamily, ...]:
    """The families that have a defense, those without trusted data first.

    Args:
        shown: experiments that are ranked, and those of oracles, which are not.
        main: the settings that are ranked.
        seeds: those that count.
        yardstick: attacks that the defenses of both families are measured by.
        order: of each family.
    """
    by_defense: dict[str, dict[str, Experiment[Record]]] = {}
    for one in shown:
        by_defense.setdefault(one.defense_label, {})[one.attack_label] = one
    found = {name: Residuals(faced, yardstick) for name, faced in by_defense.items()}
    families = []
    for trust in Trust:
        own = {name: left for name, left in found.items() if left.trust is trust}
        able = {name: left.contributions for name, left in own.items() if left.method in main}
        ranking = rank(able, seeds, "smallest")
        standings = [_standing(name, left, main, seeds, ranking, found.get(NO_DEFENSE)) for name, left in own.items()]
        families.append(DefenseFamily(trust, tuple(sorted(standings, key=_ORDERS[order])), ranking))
    return _with_efficient([family for family in families if family.standings])


def _standing(
    name: str,
    left: Residuals,
    main: frozenset[Method],
    seeds: tuple[int, ...],
    ranking: Ranking,
    nothing: Residuals | None,
) -> DefenseStanding:
    table = stacked(left.contributions, seeds)
    reference = None if nothing is None or nothing is left else stacked(nothing.contributions, seeds)
    there = tuple(seed for seed in seeds if seed in left.by_seed)
    counted: Sequence[int] = seeds if table is not None else there or tuple(left.by_seed)
    return DefenseStanding(
        rank=ranking.ranks.get(name),
        defense=name,
        trusted=left.trusted,
        residuals=left.by_seed,
        residual=measured([left.by_seed[seed] for seed in counted], table) if left.by_seed else None,
        against_none=None if table is None or reference is None else two_way(table - reference),
        worst=left.worst(counted),
        clean_cost=left.clean_cost,
        removed=left.removed,
        missing=left.missing,
        efficient=False,
        mixed_code=left.mixed_code,
        notes=_notes(left, main, seeds),
    )


def _notes(left: Residuals, main: frozenset[Method], seeds: tuple[int, ...]) -> tuple[str, ...]:
    if left.oracle:
        return (str(Badge.ORACLE),)
    return () if left.missing else notes(left.by_seed, left.contributions, seeds, left.method in main)


def _with_efficient(families: Sequence[DefenseFamily]) -> tuple[DefenseFamily, ...]:
    points = {
        one.defense: (one.residual.mean, one.clean_cost.mean)
        for family in families
        for one in family.standings
        if one.rank and one.residual and one.clean_cost
    }

    def marked(family: DefenseFamily) -> DefenseFamily:
        own = {one.defense for one in family.standings} | {NO_DEFENSE}
        rivals = [point for name, point in points.items() if name in own]
        efficient = {name for name in own & set(points) if not _beaten(points[name], rivals)}
        return replace(
            family, standings=tuple(replace(one, efficient=one.defense in efficient) for one in family.standings)
        )

    return tuple(map(marked, families))


def _beaten(own: tuple[float, float], rivals: Iterable[tuple[float, float]]) -> bool:
    return any(x <= own[0] and y <= own[1] and (x, y) != own for x, y in rivals)


def _by_mean(standing: DefenseStanding) -> tuple[bool, bool, float, str]:
    return _key(standing, standing.residual)


def _by_worst(standing: DefenseStanding) -> tuple[bool, bool, float, str]:
    return _key(standing, standing.worst.drop if standing.worst else None)


def _key(standing: DefenseStanding, by: Summary | None) -> tuple[bool, bool, float, str]:
    return standing.rank is None, by is None, by.mean if by else 0.0, standing.defense


_ORDERS: Mapping[Order, Callable[[DefenseStanding], tuple[bool, bool, float, str]]] = {
    "mean": _by_mean,
    "worst": _by_worst,
}
