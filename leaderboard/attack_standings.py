"""Attacks against no defense: who is ahead, over the seeds that count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from poisonbench.leaderboard.badges import Badge
from poisonbench.leaderboard.counting import notes, stacked
from poisonbench.leaderboard.experiments import Experiment
from poisonbench.leaderboard.methods import Method
from poisonbench.leaderboard.statistics.ranking import Contributions, Ranking, rank
from poisonbench.leaderboard.statistics.summaries import LEVEL, Summary
from poisonbench.leaderboard.statistics.two_way import TwoWay, two_way
from poisonbench.leaderboard.values import VALUES
from poisonbench.store.record import Record


@dataclass(frozen=True)
class AttackStanding:
    """An attack against no defense.

    Attributes:
        rank: from 1, shared by attacks that cannot be told apart; None if it was not tested with the others.
        experiment: the attack's numbers.
        drop: over the seeds that count, or those of them that it has; None without a number.
        test: of a drop of 0, over the seeds that count; None without answers.
        notes: why it has no rank, and what of its seeds counts.
    """

    rank: int | None
    experiment: Experiment[Record]
    drop: Summary | None
    test: TwoWay | None
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> Summary | None:
        """The attack's seconds over seeds, or None if no record has them."""
        return self.experiment.over_seeds(VALUES["attack-time"].of)

    @property
    def badges(self) -> tuple[str, ...]:
        """What a reader must know of it: of its experiment, then of its standing."""
        own = tuple(badge for badge in self.experiment.badges if badge is not Badge.FEW_SEEDS or not self.notes)
        return own + self.notes

    @property
    def told_from_zero(self) -> bool | None:
        """Whether its drop differs from 0; None if it could not be tested."""
        return None if self.test is None else self.test.p <= LEVEL


def attack_standings(
    undefended: Sequence[Experiment[Record]], main: frozenset[Method], seeds: tuple[int, ...]
) -> tuple[tuple[AttackStanding, ...], Ranking]:
    """Every attack, strongest first, and the ranking of those that count.

    Args:
        undefended: experiments against no defense.
        main: the settings that are ranked.
        seeds: those that count.
    """
    parts = [one.contributions("drop") if one.ranked else {} for one in undefended]
    able = {one.attack_label: part for one, part in zip(undefended, parts, strict=True) if _ranks(one, main)}
    ranking = rank(able, seeds, "largest")
    found = [_standing(one, part, main, seeds, ranking) for one, part in zip(undefended, parts, strict=True)]
    return tuple(sorted(found, key=_order)), ranking


def _standing(
    one: Experiment[Record], parts: Contributions, main: frozenset[Method], seeds: tuple[int, ...], ranking: Ranking
) -> AttackStanding:
    table = stacked(parts, seeds)
    return AttackStanding(
        rank=ranking.ranks.get(one.attack_label) if _ranks(one, main) else None,
        experiment=one,
        drop=one.drop if table is None else one.drop_over(seeds),
        test=None if table is None else two_way(table),
        notes=notes(one.drops, parts, seeds, one.attack in main) if one.ranked else (),
    )


def _ranks(one: Experiment[Record], main: frozenset[Method]) -> bool:
    return one.ranked and one.attack in main


def _order(standing: AttackStanding) -> tuple[bool, bool, float, str]:
    drop, own = standing.drop, standing.experiment
    return standing.rank is None, not own.ranked, -drop.mean if drop else 0.0, own.attack_label
