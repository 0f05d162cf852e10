"""Counts in words, of one and of many."""

from __future__ import annotations

import pytest

from poisonbench.counted import counted
from poisonbench.leaderboard.plots.figure_text import seeds


@pytest.mark.parametrize(
    ("count", "names", "text"),
    [
        (0, ("seed",), "0 seeds"),
        (1, ("seed",), "1 seed"),
        (10_000, ("test image",), "10,000 test images"),
        (1, ("row is", "rows are"), "1 row is"),
        (2, ("row is", "rows are"), "2 rows are"),
    ],
)
def test_one_is_one_and_more_are_many(count: int, names: tuple[str, ...], text: str) -> None:
    assert counted(count, *names) == text


def test_seeds_that_differ_are_a_range() -> None:
    assert [seeds(counts) for counts in ([1], [3, 3], [1, 3])] == ["n = 1 seed", "n = 3 seeds", "n = 1 to 3 seeds"]
