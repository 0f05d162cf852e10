"""How often the ranks are wrong and how often they see a lead, on simulated boards; its table is in docs/statistics.md.

    python tests/benchmarks/simulate_ranks.py --repetitions 500

The model is of a test set and of runs such as those of the boards. An image is right if its logit is positive:

    logit = difficulty of the image + noise of seed and image − strength of the attack
            − attack × seed − attack × image − attack × seed × image.

Of the images 80 % are easy and 20 % uncertain; the noise of seed and image is that of all attacks of the seed, which
the pairs take out. True accuracies are known in closed form, so that a true tie is one to the last digit. Coverage is
that of the true drop for fresh seeds and fresh images, and of a difference of 0 of two equal attacks. A false lead is
an entry that is called behind the first while its true value is as good or better; power is the part of the entries
that are truly behind, and are called so. Each stands beside the one that boards had before: Student's paired t over
seeds, Holm's adjustment for all pairs.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr, stdtr, stdtrit

from poisonbench.leaderboard.statistics.ranking import rank
from poisonbench.leaderboard.statistics.summaries import LEVEL
from poisonbench.leaderboard.statistics.two_way import TwoWay, two_way

EASY, UNCERTAIN = (4.0, 1.0), (0.8, 1.5)
"""Mean and standard deviation of the difficulty."""

PART = 0.2
"""Of the images that are uncertain."""

PAIRED, IMAGE, ALONE = 0.6, 0.5, 0.5
"""Standard deviations of seed × image, attack × image and attack × seed × image."""

Right = NDArray[np.float32]
"""100 where an image is right, else 0, (…, seeds, images)."""


@dataclass(frozen=True)
class Size:
    """A board: standard deviation of attack × seed, how many seeds and images."""

    seed_effect: float
    n: int
    m: int

    @property
    def variance(self) -> float:
        """Of the logit of an attacked image of known difficulty."""
        return self.seed_effect**2 + PAIRED**2 + IMAGE**2 + ALONE**2


def accuracy(strength: float, variance: float) -> float:
    """The true accuracy, percent."""
    kinds = ((1 - PART, EASY), (PART, UNCERTAIN))
    return 100.0 * sum(
        part * float(ndtr((mean - strength) / (std**2 + variance) ** 0.5)) for part, (mean, std) in kinds
    )


CLEAN = accuracy(0.0, PAIRED**2 + ALONE**2)


def strength(drop: float, size: Size) -> float:
    """Of the attack with that true drop."""
    return float(brentq(lambda found: CLEAN - accuracy(found, size.variance) - drop, -4.0, 8.0))


def board(
    drops: Sequence[float], effects: Sequence[float], size: Size, rng: np.random.Generator
) -> tuple[Right, Right]:
    """Which images are right before an attack, (n, m), and after each, (k, n, m)."""

    def normal(*shape: int) -> Right:
        return rng.standard_normal(shape, dtype=np.float32)

    uncertain = rng.random(size.m) < PART
    means, stds = (np.where(uncertain, hard, easy) for easy, hard in zip(EASY, UNCERTAIN, strict=True))
    shared = means + stds * normal(size.m) + PAIRED * normal(size.n, size.m)
    k = len(drops)
    weak = np.array([strength(drop, size) for drop in drops])[:, None, None]
    steady = np.array(effects)[:, None, None] * normal(k, size.n, 1)
    logit = shared - weak - steady - IMAGE * normal(k, 1, size.m) - ALONE * normal(k, size.n, size.m)
    clean = shared + ALONE * normal(size.n, size.m) > 0
    return 100.0 * clean.astype(np.float32), 100.0 * (logit > 0).astype(np.float32)


def coverage(size: Size, repetitions: int, rng: np.random.Generator) -> Iterator[float]:
    """Percent of the intervals that hold the truth: of a drop of 5 points, then of a difference of 0; before and after:
    Student's over seeds, then the two-way ones."""
    held = np.zeros((repetitions, 2, 2))
    for index in range(repetitions):
        clean, after = board((5.0, 5.0), (size.seed_effect,) * 2, size, rng)
        for which, (table, truth) in enumerate(((clean - after[0], 5.0), (after[1] - after[0], 0.0))):
            rows, found = table.mean(axis=1, dtype=np.float64), two_way(table)
            half = stdtrit(size.n - 1, 1 - LEVEL / 2) * rows.std(ddof=1) / size.n**0.5
            held[index, which] = abs(rows.mean() - truth) <= half, _holds(found, truth)
    yield from 100.0 * held.mean(axis=0).ravel()


def _holds(found: TwoWay | None, truth: float) -> bool:
    return found is not None and found.interval[0] <= truth <= found.interval[1]


def leads(
    drops: Sequence[float], effects: Sequence[float], size: Size, repetitions: int, rng: np.random.Generator
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Percent of boards with a false lead, before and now; percent of true leads that were seen, before and now."""
    false, seen, true = np.zeros(2), np.zeros(2), 0
    for _ in range(repetitions):
        _, after = board(drops, effects, size, rng)
        found = rank({str(i): dict(enumerate(one)) for i, one in enumerate(after)}, range(size.n), "smallest")
        first = int(next(iter(found.ranks)))
        behind = {i for i in range(len(drops)) if drops[i] < drops[first]}
        true += len(behind)
        for which, called in enumerate((_before(after, first), {int(name) for name in found.ahead})):
            false[which] += bool(called - behind)
            seen[which] += len(called & behind)
    rates, power = 100.0 * false / repetitions, 100.0 * seen / true if true else np.full(2, np.nan)
    return (rates[0], rates[1]), (power[0], power[1])


def _before(after: Right, first: int) -> set[int]:
    """Those that the first was called ahead of before: Holm over all pairs of Student's t."""
    rows = after.mean(axis=2, dtype=np.float64)
    pairs = list(combinations(range(len(rows)), 2))
    gaps = np.array([rows[a] - rows[b] for a, b in pairs])
    error = gaps.std(axis=1, ddof=1) / gaps.shape[1] ** 0.5
    p = 2.0 * stdtr(gaps.shape[1] - 1, -np.abs(gaps.mean(axis=1)) / np.maximum(error, 1e-12))
    steps = np.maximum.accumulate((len(pairs) - np.arange(len(pairs))) * np.sort(p))
    differ = {pairs[index] for index, one in zip(np.argsort(p), steps, strict=True) if one <= LEVEL}
    return {other for other in range(len(rows)) if (min(first, other), max(first, other)) in differ}


def scenarios(k: int, effect: float) -> Iterator[tuple[str, list[float], list[float]]]:
    """Name, true drops and effects of seeds on each attack."""
    even = [effect] * k
    yield "all equal", [5.0] * k, even
    if k > 2:
        yield "two tie", [5.0] * 2 + [2.0] * (k - 2), even
        yield "uneven", [5.0] * k, [effect] * 2 + [0.05] * (k - 2)
    yield "0.1 ahead", [5.1] + [5.0] * (k - 1), even
    yield "1 ahead", [6.0] + [5.0] * (k - 1), even
    yield "2 ahead", [7.0] + [5.0] * (k - 1), even


NAMES = ("all equal", "two tie", "uneven", "0.1 ahead", "1 ahead", "2 ahead")
TRUE = ("1 ahead", "2 ahead")
"""Scenarios whose power is of interest."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repetitions", type=int, default=500, help="boards of each kind")
    parser.add_argument("--effects", type=float, nargs="+", default=[0.05, 0.15, 0.5], help="std of attack × seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 5, 10])
    parser.add_argument("--images", type=int, nargs="+", default=[500, 2000])
    parser.add_argument("--entries", type=int, nargs="+", default=[2, 5, 10])
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    sizes = [Size(effect, n, m) for effect in options.effects for m in options.images for n in options.seeds]
    print("| attack × seed | images | seeds | of a drop: Student | two-way | of a difference: Student | two-way |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for size in sizes:
        shown = " | ".join(f"{part:.1f}" for part in coverage(size, 4 * options.repetitions, rng))
        print(f"| {size.seed_effect} | {size.m} | {size.n} | {shown} |", flush=True)
    print(f"\n| attack × seed | images | seeds | entries | {' | '.join(NAMES[:4])} | sees 1 | sees 2 |")
    print(f"|{' ---: |' * 10}")
    for size in sizes:
        for k in options.entries:
            cells = dict.fromkeys(NAMES, "")
            for name, drops, effects in scenarios(k, size.seed_effect):
                false, power = leads(drops, effects, size, options.repetitions, rng)
                before, now = power if name in TRUE else false
                cells[name] = f"{before:.1f} → {now:.1f}"
            shown = " | ".join(cells.values())
            print(f"| {size.seed_effect} | {size.m} | {size.n} | {k} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
