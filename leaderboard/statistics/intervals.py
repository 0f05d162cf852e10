"""A value over records of one cell, with the best interval that they allow: over seeds and test images if they have
their answers, else over seeds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from poisonbench.leaderboard.statistics.answers import SIGNS, answered, contribution
from poisonbench.leaderboard.statistics.summaries import Summary, summary
from poisonbench.leaderboard.statistics.two_way import measured
from poisonbench.leaderboard.values import VALUES
from poisonbench.store.record import Record


class Random(StrEnum):
    """What an interval takes for random."""

    SEEDS_AND_IMAGES = "for other seeds and test images"
    SEEDS = "over seeds alone (Student's t)"


@dataclass(frozen=True)
class Spread:
    """A value summed up: its mean, spread and interval, and what the interval takes for random; None without one."""

    summary: Summary
    random: Random | None


def spread(records: Iterable[Record], value: str) -> Spread | None:
    """A value over records; None if no record has it.

    Args:
        records: of one cell, one each seed. Those without the value do not count.
        value: a name in VALUES. One that is no mean over test images, such as a time, varies over seeds alone.
    """
    found = [(record, number) for record in records if (number := VALUES[value].of(record)) is not None]
    if not found:
        return None
    numbers = [number for _, number in found]
    answers = [one for record, _ in found if (one := answered(record))] if value in SIGNS else []
    if len(answers) == len(found):
        over = measured(numbers, np.stack([contribution(one, value) for one in answers]))
        return Spread(over, Random.SEEDS_AND_IMAGES if over.interval else None)
    alone = summary(numbers)
    return Spread(alone, Random.SEEDS if alone.interval else None)


def described(kinds: Iterable[Random | None]) -> str:
    """What the intervals of a table or figure take for random, in words; empty if there are none."""
    there = set(kinds)
    shown = [kind for kind in Random if kind in there]
    return "; of records without answers by test image ".join(shown)
