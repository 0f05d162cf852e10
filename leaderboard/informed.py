"""Attacks that know the defense that they meet, beside the same attacks that do not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from poisonbench.leaderboard.counting import stacked
from poisonbench.leaderboard.experiments import Experiment
from poisonbench.leaderboard.statistics.summaries import LEVEL, Summary
from poisonbench.leaderboard.statistics.two_way import TwoWay, two_way
from poisonbench.store.record import Record


@dataclass(frozen=True)
class Informed:
    """An attack against a defense that it knows.

    Attributes:
        experiment: with that knowledge.
        unaware: the same attack with the same settings against the same defense, without; None if it was not run.
        gain: what the knowledge adds to the drop, over the seeds that both have, points; None if it cannot be tested.
    """

    experiment: Experiment[Record]
    unaware: Experiment[Record] | None
    gain: TwoWay | None

    @property
    def drop(self) -> Summary | None:
        """With the knowledge."""
        return self.experiment.drop

    @property
    def helps(self) -> bool | None:
        """Whether the knowledge changes the drop; None if it could not be tested."""
        return None if self.gain is None else self.gain.p <= LEVEL


def informed(found: Iterable[Experiment[Record]]) -> tuple[Informed, ...]:
    """The ranked experiments of attacks that know the defense, by defense, the largest drop first. None of them is in a
    ranking: each attack is ranked once, and a defense by attacks that do not know it.

    Args:
        found: the experiments of a board.
    """
    ranked = [one for one in found if one.ranked]
    unaware = {(one.attack, one.defense): one for one in ranked if not one.attack.informed}
    pairs = [
        (one, unaware.get((one.attack._replace(informed=False), one.defense))) for one in ranked if one.attack.informed
    ]
    made = [Informed(one, other, _gain(one, other)) for one, other in pairs]
    return tuple(sorted(made, key=lambda one: (one.experiment.defense_label, -one.drop.mean if one.drop else 0.0)))


def _gain(one: Experiment[Record], other: Experiment[Record] | None) -> TwoWay | None:
    if other is None:
        return None
    parts, others = one.contributions("drop"), other.contributions("drop")
    shared = sorted(set(parts) & set(others))
    table, reference = stacked(parts, shared), stacked(others, shared)
    return None if table is None or reference is None else two_way(table - reference)
