"""What a defense leaves of a board's attacks, and what it costs without any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from poisonbench.leaderboard.counting import stacked
from poisonbench.leaderboard.experiments import Experiment, of_protocol
from poisonbench.leaderboard.methods import Method
from poisonbench.leaderboard.statistics.largest import interval_of_largest
from poisonbench.leaderboard.statistics.ranking import Contributions
from poisonbench.leaderboard.statistics.summaries import Summary, summary
from poisonbench.leaderboard.trust import Trust, trust
from poisonbench.leaderboard.values import VALUES
from poisonbench.store.record import Record

_DECIMALS = 9
"""To which means are compared: beyond are the roundings of their sums."""


@dataclass(frozen=True)
class Worst:
    """The attack that a defense leaves most of.

    Attributes:
        attack: label.
        name: of the attack, as registered.
        drop: what is left of it, points; the interval is that of the largest drop, whichever attack has it: it allows
            for the attack having been picked.
    """

    attack: str
    name: str
    drop: Summary


@dataclass(frozen=True)
class Residuals:
    """What one defense leaves.

    Attributes:
        faced: its experiments by the attack's label, at least one.
        yardstick: attacks that it is measured by.
    """

    faced: Mapping[str, Experiment[Record]]
    yardstick: tuple[str, ...]

    @property
    def method(self) -> Method:
        """The defense with its settings."""
        return next(iter(self.faced.values())).defense

    @cached_property
    def trusted(self) -> int | None:
        """How many trusted rows it was shown; None if no record says."""
        return max((one.trusted for one in self.faced.values() if one.trusted is not None), default=None)

    @cached_property
    def trust(self) -> Trust:
        """Whether it is a defense with trusted data."""
        return trust(self.method.name, self.trusted)

    @property
    def oracle(self) -> bool:
        """Whether it was told which rows are poison."""
        return all(one.oracle for one in self.faced.values())

    @cached_property
    def missing(self) -> tuple[str, ...]:
        """Attacks of the yardstick that it has no ranked record against."""
        return tuple(attack for attack in self.yardstick if attack not in self.faced)

    @cached_property
    def by_seed(self) -> Mapping[int, float]:
        """By seed that every experiment has, the mean drop over the yardstick's attacks, points; empty if an attack is
        missing."""
        drops = [one.drops for one in self._measuring]
        seeds = set(drops[0]).intersection(*drops[1:]) if drops else set[int]()
        return {seed: sum(one[seed] for one in drops) / len(drops) for seed in sorted(seeds)}

    @cached_property
    def contributions(self) -> Contributions:
        """The same of each test image: the mean over the attacks of what it adds to the drop."""
        parts = [one.contributions("drop") for one in self._measuring]
        seeds = set(parts[0]).intersection(*parts[1:]) if parts else set[int]()
        return {seed: np.mean([one[seed] for one in parts], axis=0) for seed in sorted(seeds)}

    def worst(self, seeds: Sequence[int]) -> Worst | None:
        """The attack of the yardstick with the largest drop over some seeds, the first of equal ones; None if an attack
        is missing, or without seeds.

        Args:
            seeds: those that every experiment has.
        """
        drops = {one.attack_label: one.drop_over(seeds) for one in self._measuring if seeds}
        if not drops:
            return None
        tables = [stacked(one.contributions("drop"), seeds) for one in self._measuring]
        known = [table for table in tables if table is not None]
        attack = max(drops, key=lambda label: round(drops[label].mean, _DECIMALS))
        interval = interval_of_largest(known) if len(known) == len(tables) else None
        return Worst(attack, self.faced[attack].attack.name, replace(drops[attack], interval=interval))

    @property
    def clean_cost(self) -> Summary | None:
        """The clean cost over the seeds that count: what the defense costs without poison is the same for every
        attack."""
        cost, conditions = VALUES["clean-cost"].of, next(iter(self.faced.values())).conditions
        by_seed = {seed: found for one in self.faced.values() for seed, found in one.by_seed(cost).items()}
        return summary([by_seed[seed] for seed in of_protocol(conditions, by_seed)]) if by_seed else None

    @property
    def removed(self) -> float | None:
        """How many rows it takes away, mean over the yardstick's attacks and the seeds that count; None if no record
        says, or if an attack is missing."""
        number = VALUES["removed"].of
        taken = [count for one in self._measuring for count in one.by_counted_seed(number).values()]
        return float(np.mean(taken)) if taken else None

    @property
    def mixed_code(self) -> bool:
        """Whether an experiment against the yardstick has seeds of different code."""
        return any(one.mixed_code for attack, one in self.faced.items() if attack in self.yardstick)

    @property
    def _measuring(self) -> list[Experiment[Record]]:
        """The experiments against the yardstick, in its order; none if one is missing."""
        return [] if self.missing else [self.faced[attack] for attack in self.yardstick]
