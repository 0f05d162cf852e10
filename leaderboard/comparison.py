"""Experiments against each other: every pair, on the seeds that both have, and on the test images of those seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from poisonbench.errors import ConfigError
from poisonbench.leaderboard.experiments import Experiment
from poisonbench.leaderboard.statistics.correctness import SIGNED_KINDS, Correct
from poisonbench.leaderboard.statistics.over_images import McNemar, mcnemar, over_images
from poisonbench.leaderboard.statistics.paired import Paired, holm, paired_t
from poisonbench.leaderboard.statistics.summaries import Summary, summary
from poisonbench.leaderboard.values import value
from poisonbench.store.artifacts import Kind
from poisonbench.store.record import Record

Answers = Mapping[str, Mapping[Kind, Correct]]
"""By record id, which test images were right; records without stored predictions are not in it."""


@dataclass(frozen=True)
class Comparison:
    """A against B in one value.

    Attributes:
        a: label.
        b: label.
        seeds: those that both have; nothing else is in any number here.
        of_a: A's value over these seeds.
        of_b: B's value.
        across_seeds: a − b, paired by seed.
        over_images: a − b, paired by test image, mean over the seeds, in points; None for a value that is no mean over
            test images, or without the predictions of every record.
        mcnemar: by seed, on the images that are right after attack and defense (before them, if the value is acc1).
    """

    a: str
    b: str
    seeds: tuple[int, ...]
    of_a: Summary
    of_b: Summary
    across_seeds: Paired
    over_images: Paired | None
    mcnemar: Mapping[int, McNemar]


def compare(experiments: Sequence[Experiment[Record]], name: str, answers: Answers) -> list[Comparison]:
    """Every pair in one value; the pairs are the family that p is adjusted for.

    Args:
        experiments: at least two, under the same conditions.
        name: of the value.
        answers: of the records whose predictions are here.
    Raises:
        UnknownNameError: if there is no such value.
        ConfigError: if two have no seed in common, or their streams of one seed are not the same.
    """
    pairs = [_pair(a, b, name, answers) for a, b in combinations(experiments, 2)]
    seeds = _adjusted([pair.across_seeds for pair in pairs])
    images = _adjusted([pair.over_images for pair in pairs])
    return [
        replace(pair, across_seeds=one or pair.across_seeds, over_images=other)
        for pair, one, other in zip(pairs, seeds, images, strict=True)
    ]


def _pair(a: Experiment[Record], b: Experiment[Record], name: str, answers: Answers) -> Comparison:
    numbers_a, numbers_b = a.by_seed(value(name).of), b.by_seed(value(name).of)
    seeds = tuple(seed for seed in numbers_a if seed in numbers_b)
    if not seeds:
        raise ConfigError(
            f"{a.label} has {name} for seeds {_listed(numbers_a)}, {b.label} for {_listed(numbers_b)}: none in common. "
            "Run both with the same --seeds."
        )
    for seed in seeds:
        if a.records[seed].seeds != b.records[seed].seeds:
            raise ConfigError(f"Seed {seed} of {a.label} and of {b.label} stands for other random streams: no pair.")
    of_a, of_b = [numbers_a[seed] for seed in seeds], [numbers_b[seed] for seed in seeds]
    images, by_seed = _images(a, b, seeds, name, answers)
    return Comparison(
        a=a.label,
        b=b.label,
        seeds=seeds,
        of_a=summary(of_a),
        of_b=summary(of_b),
        across_seeds=paired_t(of_a, of_b),
        over_images=images,
        mcnemar=by_seed,
    )


def _images(
    a: Experiment[Record], b: Experiment[Record], seeds: Sequence[int], name: str, answers: Answers
) -> tuple[Paired | None, dict[int, McNemar]]:
    kinds = SIGNED_KINDS.get(name)
    records = [(a.records[seed].record_id, b.records[seed].record_id) for seed in seeds]
    if kinds is None or not all(one in answers and two in answers for one, two in records):
        return None, {}
    differences = np.stack(
        [_contribution(answers[one], kinds) - _contribution(answers[two], kinds) for one, two in records]
    )
    tested = list(kinds)[-1]
    by_seed = {
        seed: mcnemar(answers[one][tested], answers[two][tested])
        for seed, (one, two) in zip(seeds, records, strict=True)
    }
    return over_images(differences), by_seed


def _contribution(correct: Mapping[Kind, Correct], kinds: Mapping[Kind, int]) -> NDArray[np.int64]:
    """What each test image adds to the value, (n_test,): the value is 100 times its mean."""
    total: NDArray[np.int64] = np.sum([sign * correct[kind].astype(np.int64) for kind, sign in kinds.items()], axis=0)
    return total


def _adjusted(tests: Sequence[Paired | None]) -> list[Paired | None]:
    """The tests with Holm's p, over the tests that have a p: a pair without one claims nothing."""
    adjusted = iter(holm([test.p for test in tests if test and test.p is not None]))
    return [replace(test, holm=next(adjusted)) if test and test.p is not None else test for test in tests]


def _listed(seeds: Mapping[int, float]) -> str:
    return ", ".join(map(str, seeds)) or "none"
