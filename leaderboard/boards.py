"""Boards: what may be compared, and who is ahead.

A board is the experiments that share their conditions but for deviations: numbers of different budgets are no
comparison, and records that perturb the whole training set (unlearnable examples), or that earlier code made, have
boards of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from poisonbench.leaderboard.conditions import Conditions, Kind, told_apart
from poisonbench.leaderboard.experiments import Experiment, experiments
from poisonbench.leaderboard.methods import NO_DEFENSE
from poisonbench.leaderboard.statistics.ranking import Seeds, ranks
from poisonbench.leaderboard.statistics.summaries import Summary, summary
from poisonbench.leaderboard.values import VALUES
from poisonbench.store.record import Record


@dataclass(frozen=True)
class AttackStanding:
    """An attack against no defense.

    Attributes:
        rank: from 1, shared by attacks that do not differ; None with too few seeds.
        experiment: the attack's numbers.
    """

    rank: int | None
    experiment: Experiment[Record]

    @property
    def seconds(self) -> Summary | None:
        """The attack's seconds over seeds, or None if no record has them."""
        return self.experiment.over_seeds(VALUES["attack-time"].of)


@dataclass(frozen=True)
class DefenseStanding:
    """A defense against the board's attacks.

    Attributes:
        rank: from 1, by residual drop, shared by defenses that do not differ; None with too few seeds, or if an attack
            of the yardstick is missing.
        defense: label.
        residuals: drop that is left by seed: the mean over the yardstick's attacks; empty if one is missing.
        worst: the attack that is left the largest mean drop, with it; None if one is missing.
        clean_cost: acc1 less the accuracy with the defense and no poison, over seeds; None if no record has it.
        missing: attacks of the yardstick that it has no ranked record against.
        efficient: no other ranked defense has both a smaller residual drop and a smaller clean cost.
        mixed_code: whether an experiment that the residual drop is a mean of has seeds of different code.
    """

    rank: int | None
    defense: str
    residuals: Mapping[int, float]
    worst: tuple[str, float] | None
    clean_cost: Summary | None
    missing: tuple[str, ...]
    efficient: bool
    mixed_code: bool = False

    @property
    def residual(self) -> Summary | None:
        """The residual drop over seeds, or None without any."""
        return summary(list(self.residuals.values())) if self.residuals else None


@dataclass(frozen=True)
class Board:
    """Experiments that may be compared, and who is ahead among them.

    Attributes:
        conditions: what all of its experiments share, without deviations.
        title: its name, unique among the boards that it was made with.
        experiments: every attack against every defense, ranked or not.
        attacks: strongest first; one for each attack that has a record against no defense.
        defenses: best first.
        yardstick: the attacks that defenses are measured by: those that at least half of the defenses have faced.
    """

    conditions: Conditions
    title: str
    experiments: tuple[Experiment[Record], ...]
    attacks: tuple[AttackStanding, ...]
    defenses: tuple[DefenseStanding, ...]
    yardstick: tuple[str, ...]


def boards(records: Iterable[Record]) -> list[Board]:
    """Every board that has a record, in the order of their titles; unlearnable examples, then earlier code last."""
    groups: dict[Conditions, list[Experiment[Record]]] = {}
    for one in experiments(records):
        groups.setdefault(one.conditions.of_board, []).append(one)
    titles = told_apart(groups, str)
    found = [_board(conditions, titles[conditions], group) for conditions, group in groups.items()]
    return sorted(
        found, key=lambda board: (board.conditions.earlier, board.conditions.kind is Kind.UNLEARNABLE, board.title)
    )


def _board(conditions: Conditions, title: str, group: Iterable[Experiment[Record]]) -> Board:
    found = sorted(group, key=_order)
    ranked = [one for one in found if one.ranked]
    attacks = _attacks([one for one in found if one.defense.name == NO_DEFENSE])
    yardstick = _yardstick(ranked, attacks)
    return Board(conditions, title, tuple(found), attacks, _defenses(ranked, yardstick), yardstick)


def _order(one: Experiment[Record]) -> tuple[str, bool, str, tuple[str, ...]]:
    return one.attack_label, one.defense.name != NO_DEFENSE, one.defense_label, one.conditions.deviations


def _attacks(undefended: Sequence[Experiment[Record]]) -> tuple[AttackStanding, ...]:
    counted: list[Seeds] = [one.drops if one.ranked else {} for one in undefended]
    standings = [
        AttackStanding(rank, one) for rank, one in zip(ranks(counted, largest_first=True), undefended, strict=True)
    ]

    def order(standing: AttackStanding) -> tuple[bool, bool, float, str]:
        own, drop = standing.experiment, standing.experiment.drop
        return standing.rank is None, not own.ranked, -drop.mean if drop else 0.0, own.attack_label

    return tuple(sorted(standings, key=order))


def _yardstick(ranked: Iterable[Experiment[Record]], attacks: tuple[AttackStanding, ...]) -> tuple[str, ...]:
    """The attacks that at least half of the defenses have faced, in the order of their standing."""
    faced: dict[str, set[str]] = {}
    for one in ranked:
        faced.setdefault(one.attack_label, set()).add(one.defense_label)
    defenses = set[str]().union(*faced.values())
    order = {standing.experiment.attack_label: index for index, standing in reversed(list(enumerate(attacks)))}
    enough = [attack for attack, by in faced.items() if 2 * len(by) >= len(defenses)]
    return tuple(sorted(enough, key=lambda attack: (order.get(attack, len(order)), attack)))


def _defenses(ranked: Iterable[Experiment[Record]], yardstick: tuple[str, ...]) -> tuple[DefenseStanding, ...]:
    by_defense: dict[str, dict[str, Experiment[Record]]] = {}
    for one in ranked:
        by_defense.setdefault(one.defense_label, {})[one.attack_label] = one
    residuals = {name: _residual(faced, yardstick) for name, faced in by_defense.items()}
    found = []
    for (name, faced), rank in zip(
        by_defense.items(), ranks(list(residuals.values()), largest_first=False), strict=True
    ):
        residual, missing = residuals[name], tuple(attack for attack in yardstick if attack not in faced)
        left = {attack: faced[attack].drop for attack in yardstick if attack in faced}
        worst = max(((drop.mean, attack) for attack, drop in left.items() if drop), default=None)
        found.append(
            DefenseStanding(
                rank=rank,
                defense=name,
                residuals=residual,
                worst=(worst[1], worst[0]) if worst and not missing else None,
                clean_cost=_clean_cost(faced),
                missing=missing,
                efficient=False,
                mixed_code=any(faced[attack].mixed_code for attack in yardstick if attack in faced),
            )
        )
    return tuple(sorted(_with_efficient(found), key=_defense_order))


def _residual(faced: Mapping[str, Experiment[Record]], yardstick: tuple[str, ...]) -> dict[int, float]:
    """By seed that every experiment has, the mean drop over the yardstick's attacks; empty if an attack is missing."""
    if not yardstick or any(attack not in faced for attack in yardstick):
        return {}
    drops = [faced[attack].drops for attack in yardstick]
    seeds = set(drops[0]).intersection(*drops[1:])
    return {seed: sum(one[seed] for one in drops) / len(drops) for seed in sorted(seeds)}


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


def _defense_order(standing: DefenseStanding) -> tuple[bool, bool, float, str]:
    residual = standing.residual
    return standing.rank is None, residual is None, residual.mean if residual else 0.0, standing.defense
