"""What a table shows of an experiment: one value by seed, its summary, and its mark."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from poisonbench.leaderboard.experiments import Experiment
from poisonbench.leaderboard.statistics.answers import SIGNS, Answered, contribution
from poisonbench.leaderboard.statistics.ranking import Contributions
from poisonbench.leaderboard.statistics.summaries import Summary, summary
from poisonbench.leaderboard.statistics.two_way import measured
from poisonbench.leaderboard.tables.marks import Mark
from poisonbench.store.tables import Row

Numbers = Mapping[str, Callable[[Row], float | None]]
"""A row's number by the name of the value."""


@dataclass(frozen=True)
class Measurement:
    """One value of one experiment.

    Attributes:
        experiment: whose it is.
        seed: the one that it is of where seeds are an axis, else None.
        value: its name.
        seeds: the value by seed.
        answers: by seed, of records that have them.
        mark: among what it competes with.
    """

    experiment: Experiment[Row]
    seed: int | None
    value: str
    seeds: Mapping[int, float]
    answers: Mapping[int, Answered] = field(default_factory=dict)
    mark: Mark | None = None

    @cached_property
    def summary(self) -> Summary:
        """The value over seeds, without an interval."""
        return summary(list(self.seeds.values()))

    @property
    def contributions(self) -> Contributions:
        """By seed, the points that each test image adds; the value itself if it is no mean over images."""
        if self.value in SIGNS:
            return {seed: contribution(found, self.value) for seed, found in self.answers.items()}
        return {seed: np.array([number], dtype=np.float64) for seed, number in self.seeds.items()}

    @cached_property
    def interval(self) -> tuple[float, float] | None:
        """Of 95 %, over seeds and test images; None where they are not known."""
        parts = self.contributions
        table = np.stack([parts[seed] for seed in self.seeds]) if set(self.seeds) <= set(parts) else None
        return measured(list(self.seeds.values()), table).interval

    @property
    def mixed_code(self) -> bool:
        """Whether it is a mean over seeds of different code."""
        return self.seed is None and self.experiment.mixed_code


def measurements(
    experiment: Experiment[Row], numbers: Numbers, answers: Mapping[str, Answered], axes: Collection[str]
) -> Iterator[Measurement]:
    """One measurement for each value over the seeds that count, or for each value and any seed where seeds are an axis;
    none for a value that no record has.

    Args:
        experiment: whose records are measured.
        numbers: of the values.
        answers: by record id.
        axes: of the table.
    """
    known = {seed: answers[row.record_id] for seed, row in experiment.rows.items() if row.record_id in answers}
    for name, number in numbers.items():
        if "seed" in axes:
            for seed, found in experiment.by_seed(number).items():
                yield Measurement(experiment, seed, name, {seed: found})
        elif seeds := experiment.by_counted_seed(number):
            yield Measurement(experiment, None, name, seeds, known)
