"""Defenses against the attacks of a board: who leaves least, over the seeds that count."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from poisonbench.leaderboard.badges import Badge
from poisonbench.leaderboard.counting import notes, stacked
from poisonbench.leaderboard.experiments import Experiment
from poisonbench.leaderboard.methods import NO_DEFENSE, Method
from poisonbench.leaderboard.statistics.ranking import Contributions, Ranking, rank
from poisonbench.leaderboard.statistics.summaries import LEVEL, Summary, summary
from poisonbench.leaderboard.statistics.two_way import TwoWay, measured, two_way
from poisonbench.leaderboard.values import VALUES
from poisonbench.store.record import Record


@dataclass(frozen=True)
class DefenseStanding:
    """A defense against the board's attacks.

    Attributes:
        rank: from 1, by residual drop, shared by defenses that cannot be told apart; None if it was not tested with the
            others, or if an attack of the yardstick is missing.
        defense: label.
        residuals: drop that is left by seed: the mean over the yardstick's attacks; empty if one is missing.
        residual: over the seeds that count if it has them, else over all that it has; None without any.
        against_none: what it leaves less what no defense leaves, over the seeds that count; None of no defense itself,
            or without answers.
        worst: the attack that is left the largest mean drop, with it; None if one is missing.
        clean_cost: acc1 less the accuracy with the defense and no poison, over seeds; None if no record has it.
        missing: attacks of the yardstick that it has no ranked record against.
        efficient: no other ranked defense has both a smaller residual drop and a smaller clean cost.
        mixed_code: whether an experiment that the residual drop is a mean of has seeds of different code.
        notes: why it has no rank, and what of its seeds counts.
    """

    rank: int | None
    defense: str
    residuals: Mapping[int, float]
    residual: Summary | None
    against_none: TwoWay | None
    worst: tuple[str, float] | None
    clean_cost: Summary | None
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


def defense_standings(
    ranked: Iterable[Experiment[Record]], main: frozenset[Method], seeds: tuple[int, ...], yardstick: tuple[str, ...]
) -> tuple[tuple[DefenseStanding, ...], Ranking]:
    """Every defense, best first, and the ranking of those that count.

    Args:
        ranked: experiments.
        main: the settings that are ranked.
        seeds: those that count.
        yardstick: attacks that defenses are measured by.
    """
    by_defense: dict[str, dict[str, Experiment[Record]]] = {}
    for one in ranked:
        by_defense.setdefault(one.defense_label, {})[one.attack_label] = one
    variants = {name for name, faced in by_defense.items() if next(iter(faced.values())).defense not in main}
    parts = {name: _contributions(faced, yardstick) for name, faced in by_defense.items()}
    ranking = rank({name: part for name, part in parts.items() if name not in variants}, seeds, "smallest")
    tables = {name: stacked(part, seeds) for name, part in parts.items()}
    nothing = tables.get(NO_DEFENSE)
    found = []
    for name, faced in by_defense.items():
        residuals, table = _residuals(faced, yardstick), tables[name]
        counted = residuals if table is None else seeds
        missing = tuple(attack for attack in yardstick if attack not in faced)
        found.append(
            DefenseStanding(
                rank=ranking.ranks.get(name),
                defense=name,
                residuals=residuals,
                residual=measured([residuals[seed] for seed in counted], table) if residuals else None,
                against_none=None if table is None or nothing is None or table is nothing else two_way(table - nothing),
                worst=None if missing else _worst(faced, yardstick),
                clean_cost=_clean_cost(faced),
                missing=missing,
                efficient=False,
                mixed_code=any(faced[attack].mixed_code for attack in yardstick if attack in faced),
                notes=notes(residuals, parts[name], seeds, name not in variants) if not missing else (),
            )
        )
    return tuple(sorted(_with_efficient(found), key=_order)), ranking


def _worst(faced: Mapping[str, Experiment[Record]], yardstick: tuple[str, ...]) -> tuple[str, float] | None:
    found = max(((drop.mean, attack) for attack in yardstick if (drop := faced[attack].drop)), default=None)
    return (found[1], found[0]) if found else None


def _residuals(faced: Mapping[str, Experiment[Record]], yardstick: tuple[str, ...]) -> dict[int, float]:
    """By seed that every experiment has, the mean drop over the yardstick's attacks; empty if an attack is missing."""
    if not yardstick or any(attack not in faced for attack in yardstick):
        return {}
    drops = [faced[attack].drops for attack in yardstick]
    seeds = set(drops[0]).intersection(*drops[1:])
    return {seed: sum(one[seed] for one in drops) / len(drops) for seed in sorted(seeds)}


def _contributions(faced: Mapping[str, Experiment[Record]], yardstick: tuple[str, ...]) -> Contributions:
    """The same of each test image: the mean over the attacks of what it adds to the drop."""
    if not yardstick or any(attack not in faced for attack in yardstick):
        return {}
    parts = [faced[attack].contributions("drop") for attack in yardstick]
    seeds = set(parts[0]).intersection(*parts[1:])
    return {seed: np.mean([one[seed] for one in parts], axis=0) for seed in sorted(seeds)}


def _clean_cost(faced: Mapping[str, Experiment[Record]]) -> Summary | None:
    """The clean cost over seeds: what the defense costs without poison is the same for every attack."""
    cost = VALUES["clean-cost"].of
    by_seed = {seed: found for one in faced.values() for seed, found in one.by_seed(cost).items()}
    return summary(list(by_seed.values())) if by_seed else None


def _with_efficient(standings: list[DefenseStanding]) -> list[DefenseStanding]:
    points = [
        (one.residual.mean, one.clean_cost.mean) for one in standings if one.rank and one.residual and one.clean_cost
    ]

    def efficient(one: DefenseStanding) -> bool:
        if not one.rank or one.residual is None or one.clean_cost is None:
            return False
        own = one.residual.mean, one.clean_cost.mean
        return not any(x <= own[0] and y <= own[1] and (x, y) != own for x, y in points)

    return [replace(one, efficient=efficient(one)) for one in standings]


def _order(standing: DefenseStanding) -> tuple[bool, bool, float, str]:
    residual = standing.residual
    return standing.rank is None, residual is None, residual.mean if residual else 0.0, standing.defense
