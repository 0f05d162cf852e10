"""What a table shows of an experiment: one value by seed, its summary, and its mark."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from poisonbench.leaderboard.experiments import Experiment
from poisonbench.leaderboard.statistics.ranking import Seeds
from poisonbench.leaderboard.statistics.summaries import Summary, summary
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
        summary: of it.
        mark: among what it competes with.
    """

    experiment: Experiment[Row]
    seed: int | None
    value: str
    seeds: Seeds
    summary: Summary
    mark: Mark | None = None

    @property
    def mixed_code(self) -> bool:
        """Whether it is a mean over seeds of different code."""
        return self.seed is None and self.experiment.mixed_code


def measurements(experiment: Experiment[Row], numbers: Numbers, axes: Collection[str]) -> Iterator[Measurement]:
    """One measurement for each value, or for each value and seed where seeds are an axis; none for a value that no
    record has.

    Args:
        experiment: whose records are measured.
        numbers: of the values.
        axes: of the table.
    """
    for name, number in numbers.items():
        seeds = experiment.by_seed(number)
        if "seed" in axes:
            for seed, found in seeds.items():
                yield Measurement(experiment, seed, name, {seed: found}, summary([found]))
        elif seeds:
            yield Measurement(experiment, None, name, seeds, summary(list(seeds.values())))
