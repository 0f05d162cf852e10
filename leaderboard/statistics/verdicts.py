"""A comparison in one plain sentence."""

from __future__ import annotations

from poisonbench.counted import counted
from poisonbench.leaderboard.comparison import Comparison
from poisonbench.leaderboard.statistics.summaries import LEVEL
from poisonbench.leaderboard.values import value

_POINTS = ("acc1", "acc2", "drop", "undefended", "last-quarter", "best-epoch", "saved", "clean-cost")


def verdict(comparison: Comparison, name: str) -> str:
    """What is shown of the value of that name, at the 5 % level and after adjustment for the family."""
    pair, n = f"{comparison.a} and {comparison.b}", len(comparison.seeds)
    if n == 1:
        size, seed = _size(comparison, name, 1), comparison.seeds[0]
        return f"Nothing is shown between {pair}: {size} in seed {seed}, the only one that all have."
    if comparison.p is None or comparison.adjusted is None:
        why = "What does not vary" if comparison.images is None else "Without the records' answers by test image it"
        return f"{_claim(comparison, name)} in the mean of {n} seeds. {why} cannot be tested."
    tail = f"{_p(comparison.p, comparison.adjusted, comparison.family)}; {_sample(comparison)}."
    if comparison.adjusted <= LEVEL:
        return f"{_claim(comparison, name)}, {tail}"
    return f"No difference is shown between {pair}: {_size(comparison, name, 1)}, {tail}"


def family(comparison: Comparison) -> str:
    """Which test it is, and of which family."""
    random = "over seeds" if comparison.images is None else "over seeds and test images"
    if comparison.family == 2:
        return f"Paired test {random}."
    return (
        f"Paired tests {random}; p in family: adjusted for all pairs of these {comparison.family} experiments, with "
        "the variance over seeds that is usual among them, as for ranks. A board ranks families of its own: attacks, "
        "defenses with trusted data and those without."
    )


def p_value(p: float | None) -> str:
    """A p-value as tables show it: "0.042", "<0.001", or "–" where there is none."""
    return "–" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"


def _claim(comparison: Comparison, name: str) -> str:
    """Who has more, and by how much."""
    above, below, sign = comparison.a, comparison.b, 1
    if comparison.difference.mean < 0:
        above, below, sign = below, above, -1
    size = _size(comparison, name, sign)
    if name == "drop":
        return f"{above} lowers accuracy more than {below}: {size}"
    return f"{name} is higher for {above} than {below}: {size}"


def _size(comparison: Comparison, name: str, sign: int) -> str:
    decimals, unit = value(name).decimals, " points" if name in _POINTS else ""
    found = comparison.difference
    size = f"{sign * found.mean:.{decimals}f}{unit}"
    if found.interval is None:
        return size
    low, high = sorted(sign * bound for bound in found.interval)
    return f"{size}, {100 * (1 - LEVEL):g} % interval {low:.{decimals}f} to {high:.{decimals}f}"


def _sample(comparison: Comparison) -> str:
    images = "" if comparison.images is None else f" × {counted(comparison.images, 'image')}"
    return f"{counted(len(comparison.seeds), 'seed')}{images}"


def _p(p: float, adjusted: float, family: int) -> str:
    def text(number: float) -> str:
        return "p < 0.001" if number < 0.001 else f"p = {number:.3f}"

    return text(p) if family == 2 else f"{text(p)} ({text(adjusted)} in the family of {family})"
