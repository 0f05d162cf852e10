"""A comparison in one plain sentence, and a second one where the test over images does not agree."""

from __future__ import annotations

from poisonbench.leaderboard.comparison import Comparison
from poisonbench.leaderboard.statistics.summaries import LEVEL, Summary
from poisonbench.leaderboard.values import value

_POINTS = ("acc1", "acc2", "drop", "undefended", "last-quarter", "best-epoch", "saved", "clean-cost")


def verdict(comparison: Comparison, name: str) -> str:
    """What is shown of the value of that name, at the 5 % level and after adjustment.

    The first sentence is about other seeds on this test set, the second about other test images with these seeds.
    """
    return _across_seeds(comparison, name) + _over_images(comparison)


def p_value(p: float | None) -> str:
    """A p-value as tables show it: "0.042", "<0.001", or "–" where there is none."""
    return "–" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"


def _across_seeds(comparison: Comparison, name: str) -> str:
    difference, p = comparison.across_seeds.difference, comparison.across_seeds.p
    pair, n = f"{comparison.a} and {comparison.b}", difference.n
    if n == 1:
        size = _size(difference, name, 1)
        return f"Nothing is shown between {pair}: {size} in seed {comparison.seeds[0]}, the only one that both have."
    above, below, sign = _order(comparison)
    claim = (
        f"{above} lowers accuracy more than {below}" if name == "drop" else f"{name} is higher for {above} than {below}"
    )
    if p is None:
        return f"{claim}: {_size(difference, name, sign)}. What does not vary cannot be tested."
    adjusted = comparison.across_seeds.holm
    if _is_shown(adjusted):
        return f"{claim}: {_size(difference, name, sign)}, {_p(p, adjusted)}; n = {n}."
    return f"No difference is shown between {pair}: {_size(difference, name, 1)}, {_p(p, adjusted)}; n = {n}."


def _over_images(comparison: Comparison) -> str:
    """What the test over images adds: nothing where both tests agree, or where there is one only."""
    images = comparison.over_images
    if images is None or images.p is None:
        return ""
    shown = _is_shown(images.holm), _is_shown(comparison.across_seeds.holm)
    if shown == (True, False):
        return f" The models themselves differ over test images: {_p(images.p, images.holm)}."
    if shown == (False, True):
        return f" Over test images no difference is shown: {_p(images.p, images.holm)}."
    return ""


def _order(comparison: Comparison) -> tuple[str, str, int]:
    """The larger, the smaller, and the sign that makes their difference positive."""
    if comparison.across_seeds.difference.mean < 0:
        return comparison.b, comparison.a, -1
    return comparison.a, comparison.b, 1


def _size(difference: Summary, name: str, sign: int) -> str:
    decimals, unit = value(name).decimals, " points" if name in _POINTS else ""
    size = f"{sign * difference.mean:.{decimals}f}{unit}"
    if difference.interval is None:
        return size if difference.n == 1 else f"{size} in each of {difference.n} seeds"
    low, high = sorted(sign * bound for bound in difference.interval)
    return f"{size}, {100 * (1 - LEVEL):g} % interval {low:.{decimals}f} to {high:.{decimals}f}"


def _p(p: float, holm: float | None) -> str:
    def text(number: float) -> str:
        return "p < 0.001" if number < 0.001 else f"p = {number:.3f}"

    return text(p) if holm is None or text(holm) == text(p) else f"{text(p)} ({text(holm)} after Holm)"


def _is_shown(p: float | None) -> bool:
    return p is not None and p < LEVEL
