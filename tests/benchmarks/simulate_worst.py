"""How often the interval of the largest of several drops holds the largest true one; its numbers are in
docs/statistics.md.

    python tests/benchmarks/simulate_worst.py --repetitions 500

On the boards of simulate_ranks. Beside it stand the interval of the one drop that happens to be largest, and by how
much that drop is too large.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
from simulate_ranks import Size, board

from poisonbench.leaderboard.statistics.largest import interval_of_largest
from poisonbench.leaderboard.statistics.two_way import two_way

SCENARIOS = {"all equal": lambda k: [3.0] * k, "0.3 apart": lambda k: [3.0 - 0.3 * index for index in range(k)]}


def worst(drops: Sequence[float], size: Size, repetitions: int, rng: np.random.Generator) -> tuple[float, float, float]:
    """Percent of boards whose largest true drop is within the interval of the picked drop, and within that of the
    largest; the picked drop less it, points."""
    found, truth = np.zeros((repetitions, 3)), max(drops)
    for index in range(repetitions):
        clean, after = board(drops, [size.seed_effect] * len(drops), size, rng)
        tables = list(clean - after)
        picked = max(tables, key=lambda table: float(table.mean(dtype=np.float64)))
        alone, largest = two_way(picked), interval_of_largest(tables)
        assert alone is not None
        assert largest is not None
        held = (low <= truth <= high for low, high in (alone.interval, largest))
        found[index] = *held, picked.mean(dtype=np.float64) - truth
    alone_, largest_, excess = found.mean(axis=0)
    return 100.0 * alone_, 100.0 * largest_, excess


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repetitions", type=int, default=500, help="boards of each kind")
    parser.add_argument("--effects", type=float, nargs="+", default=[0.05, 0.15, 0.5], help="std of attack × seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 10])
    parser.add_argument("--images", type=int, nargs="+", default=[500, 2000])
    parser.add_argument("--attacks", type=int, nargs="+", default=[2, 10])
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    print(
        "| attack × seed | images | seeds | attacks | true drops | of the picked drop | of the largest | too large by |"
    )
    print(f"|{' ---: |' * 4} --- |{' ---: |' * 3}")
    for effect in options.effects:
        for m in options.images:
            for n in options.seeds:
                for k in options.attacks:
                    for name, drops in SCENARIOS.items():
                        cells = worst(drops(k), Size(effect, n, m), options.repetitions, rng)
                        shown = " | ".join(
                            f"{number:.{digits}f}" for number, digits in zip(cells, (1, 1, 2), strict=True)
                        )
                        print(f"| {effect} | {m} | {n} | {k} | {name} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
