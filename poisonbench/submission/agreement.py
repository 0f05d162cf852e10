"""Whether the drops that were submitted and those that were found again are the same to a board: by its own test.

All seeds of an attack against a defense are compared at once, paired by seed and test image, so that no difference
passes that would separate two entries of a board.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from poisonbench.leaderboard.experiments import experiments
from poisonbench.leaderboard.statistics.answers import Answered, answered, contribution, right
from poisonbench.leaderboard.statistics.mcnemar import mcnemar
from poisonbench.leaderboard.statistics.summaries import LEVEL
from poisonbench.leaderboard.statistics.two_way import two_way
from poisonbench.store.record import Record

Pair = tuple[Record, Record]
"""A record as submitted, and as found again."""


@dataclass(frozen=True)
class Agreement:
    """The drops of one attack against one defense, submitted and found again.

    Attributes:
        label: attack and defense.
        seeds: how many were trained again.
        submitted: their mean drop, points.
        found: the same, as measured again.
        p: of no difference: of the two-way test over seeds and test images; of one seed, McNemar's exact test on its
            images, the smaller p of those before and after the attack.
    """

    label: str
    seeds: int
    submitted: float
    found: float
    p: float

    @property
    def told_apart(self) -> bool:
        """Whether a board would tell the two apart: then nothing of it is signed."""
        return self.p <= LEVEL


def agreements(pairs: Iterable[Pair]) -> dict[str, Agreement]:
    """By the submitted record's id, how its attack and defense agree; records without answers are left out."""
    by_id = {submitted.record_id: (submitted, found) for submitted, found in pairs}
    agreed: dict[str, Agreement] = {}
    for one in experiments(submitted for submitted, _ in by_id.values()):
        own = [by_id[record.record_id] for record in (*one.records.values(), *one.superseded)]
        told = [(first, second) for pair in own if (first := answered(pair[0])) and (second := answered(pair[1]))]
        if told:
            found = Agreement(
                one.label, len(told), _mean(first for first, _ in told), _mean(b for _, b in told), _p(told)
            )
            agreed |= {submitted.record_id: found for submitted, _ in own}
    return agreed


def _mean(answers: Iterable[Answered]) -> float:
    return fmean(float(contribution(one, "drop").mean()) for one in answers)


def _p(told: list[tuple[Answered, Answered]]) -> float:
    table = np.stack([contribution(first, "drop") - contribution(second, "drop") for first, second in told])
    test = two_way(table)
    if test is not None:
        return test.p
    ((first, second),) = told
    pairs = (first.clean, second.clean), (first.attacked, second.attacked)
    return min(mcnemar(right(a, first.images), right(b, first.images)).p for a, b in pairs)
