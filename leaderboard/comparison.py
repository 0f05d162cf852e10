"""Experiments against each other: every pair, on the seeds that all have, by the test that makes the ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from poisonbench.errors import ConfigError
from poisonbench.leaderboard.experiments import Experiment, of_protocol
from poisonbench.leaderboard.statistics.answers import SIGNS, Answered, answered, right
from poisonbench.leaderboard.statistics.mcnemar import McNemar, mcnemar
from poisonbench.leaderboard.statistics.ranking import Contributions, every_pair
from poisonbench.leaderboard.statistics.summaries import Summary, summary
from poisonbench.leaderboard.statistics.two_way import measured, two_way
from poisonbench.leaderboard.values import value
from poisonbench.store.record import Record


@dataclass(frozen=True)
class Comparison:
    """A against B in one value.

    Attributes:
        a: label.
        b: label.
        seeds: those of the protocol that all experiments of the family have, as on a board, or others if it has none of
            them. Nothing else is in any number here.
        images: how many test images the value is a mean over; None for one that is none: then seeds alone are random.
        of_a: A's value over these seeds.
        of_b: B's value.
        difference: a − b, paired by seed and image.
        p: of no difference, of this pair alone; None where nothing can be tested.
        adjusted: the same for the family, as for ranks.
        family: how many experiments are compared with each other.
        mcnemar: by seed, on the images that are right after attack and defense (before them, if the value is acc1).
    """

    a: str
    b: str
    seeds: tuple[int, ...]
    images: int | None
    of_a: Summary
    of_b: Summary
    difference: Summary
    p: float | None
    adjusted: float | None
    family: int
    mcnemar: Mapping[int, McNemar]


def compare(experiments: Sequence[Experiment[Record]], name: str) -> list[Comparison]:
    """Every pair in one value; the experiments are the family that p is adjusted for.

    Args:
        experiments: at least two, under the same conditions.
        name: of the value.
    Raises:
        UnknownNameError: if there is no such value.
        ConfigError: if they have no seed in common, or their streams of one seed are not the same.
    """
    numbers = {one.label: one.by_seed(value(name).of) for one in experiments}
    seeds = _shared(experiments, numbers, name)
    parts = {one.label: _contributions(one, numbers[one.label], name) for one in experiments}
    tested = len(seeds) > 1 and all(set(seeds) <= set(part) for part in parts.values())
    adjusted = every_pair(parts, seeds, "largest") if tested else {}
    return [
        _pair(a, b, name, seeds, (numbers, parts if tested else None, adjusted))
        for a, b in combinations(experiments, 2)
    ]


_Found = tuple[Mapping[str, Mapping[int, float]], Mapping[str, Contributions] | None, Mapping[frozenset[str], float]]
"""By label the value by seed, and the contributions unless there is no test; by pair, the adjusted p."""


def _shared(
    experiments: Sequence[Experiment[Record]], numbers: Mapping[str, Mapping[int, float]], name: str
) -> tuple[int, ...]:
    common = sorted(set.intersection(*(set(by_seed) for by_seed in numbers.values())))
    seeds = of_protocol(experiments[0].conditions, common)
    if not seeds:
        has = "; ".join(f"{label} for {_listed(by_seed)}" for label, by_seed in numbers.items())
        raise ConfigError(f"{name} is there by seed: {has}. None is in common: run all with the same --seeds.")
    for a, b in combinations(experiments, 2):
        for seed in seeds:
            if a.records[seed].seeds != b.records[seed].seeds:
                raise ConfigError(
                    f"Seed {seed} of {a.label} and of {b.label} stands for other random streams: no pair."
                )
    return seeds


def _contributions(one: Experiment[Record], numbers: Mapping[int, float], name: str) -> Contributions:
    """By seed what each image adds; of a value that is no mean over images, the value."""
    if name in SIGNS:
        return one.contributions(name)
    return {seed: np.array([number], dtype=np.float64) for seed, number in numbers.items()}


def _pair(a: Experiment[Record], b: Experiment[Record], name: str, seeds: tuple[int, ...], found: _Found) -> Comparison:
    numbers, parts, adjusted = found
    of_a, of_b = ([numbers[one.label][seed] for seed in seeds] for one in (a, b))
    table = None if parts is None else np.stack([parts[a.label][seed] - parts[b.label][seed] for seed in seeds])
    test = None if table is None else two_way(table)
    return Comparison(
        a=a.label,
        b=b.label,
        seeds=seeds,
        images=a.conditions.test_images if name in SIGNS else None,
        of_a=summary(of_a),
        of_b=summary(of_b),
        difference=measured(np.subtract(of_a, of_b).tolist(), table),
        p=test.p if test else None,
        adjusted=adjusted[frozenset((a.label, b.label))] if test else None,
        family=len(numbers),
        mcnemar=_mcnemar(a, b, seeds, name),
    )


def _mcnemar(a: Experiment[Record], b: Experiment[Record], seeds: Sequence[int], name: str) -> dict[int, McNemar]:
    if name not in SIGNS:
        return {}
    pairs = {seed: (answered(a.records[seed]), answered(b.records[seed])) for seed in seeds}
    return {seed: mcnemar(_right(one, name), _right(two, name)) for seed, (one, two) in pairs.items() if one and two}


def _right(found: Answered, name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.int8]]:
    return right(found.clean if name == "acc1" else found.attacked, found.images)


def _listed(seeds: Mapping[int, float]) -> str:
    return ", ".join(map(str, seeds)) or "none"
