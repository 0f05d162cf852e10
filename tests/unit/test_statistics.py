"""Intervals and tests against textbooks, brute force and simulation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from poisonbench.leaderboard.statistics.answers import Answered, contribution
from poisonbench.leaderboard.statistics.intervals import Random, Spread, spread
from poisonbench.leaderboard.statistics.largest import interval_of_largest
from poisonbench.leaderboard.statistics.mcnemar import mcnemar
from poisonbench.leaderboard.statistics.studentized_range import survival
from poisonbench.leaderboard.statistics.summaries import Summary, summary
from poisonbench.leaderboard.statistics.two_way import degrees, measured, two_way, variances
from poisonbench.store.record import Record

# Hours of sleep that two drugs gave the same ten patients: Student, The probable error of a mean, 1908.
SLEEP = (
    [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0],
    [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4],
)
tables = st.integers(2, 4).flatmap(
    lambda n: st.lists(st.lists(st.sampled_from([-100, 0, 0, 100]), min_size=12, max_size=12), min_size=n, max_size=n)
)
quick = settings(max_examples=50, deadline=None)


def test_the_interval_of_a_mean_is_students() -> None:
    found = summary([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (found.n, found.mean) == (5, 3.0)
    assert (found.std, found.standard_error) == (pytest.approx(2.5**0.5), pytest.approx(0.5**0.5))
    half = 2.7764451052 * 0.5**0.5  # the table's t at 0.975 with 4 degrees of freedom
    assert found.interval == pytest.approx((3 - half, 3 + half))


def test_one_number_has_no_spread_and_equal_ones_no_interval() -> None:
    assert summary([4.0]) == Summary(1, 4.0, None, None, None)
    assert summary([0.5, 0.5, 0.5]) == Summary(3, 0.5, 0.0, 0.0, None)


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [float("inf")]])
def test_what_is_no_row_of_numbers_is_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="finite numbers"):
        summary(values)


def test_the_interval_covers_the_mean_as_often_as_it_says() -> None:
    """Four standard deviations of the binomial: wrong by chance once in 16,000 seeds, and the seed is fixed."""
    draws = np.random.default_rng(0).normal(3.0, 2.0, size=(2000, 3))
    intervals = [summary(row).interval for row in draws]
    covered = sum(found is not None and found[0] < 3.0 < found[1] for found in intervals)
    assert abs(covered - 1900) < 4 * (2000 * 0.95 * 0.05) ** 0.5


def test_by_hand() -> None:
    """Two seeds, three images: means 3 and 5 of the seeds, 2, 4 and 6 of the images."""
    table = np.array([[1.0, 2.0, 6.0], [3.0, 6.0, 6.0]])
    # Sums of squares: total 22, seeds 3 · 2 · 1 = 6, images 2 · (4 + 0 + 4) = 16 − … interaction what is left.
    found = variances(table)
    assert found.mean == 4.0
    assert found.of_seeds == pytest.approx(2.0 / 2)  # s² = 2 of the two means
    total, seeds, images = 26.0, 6.0, 16.0
    interaction = (total - seeds - images) / 2
    assert found.of_images == pytest.approx((images / 2 - interaction) / 6 + (100 / 3) ** 2)


def test_without_interaction_the_two_variances_add_up() -> None:
    rng = np.random.default_rng(0)
    of_seed, of_image = rng.normal(0, 3, 5), rng.normal(0, 20, 400)
    found = variances(of_seed[:, None] + of_image[None])
    assert found.of_seeds == pytest.approx(of_seed.var(ddof=1) / 5)
    assert found.of_images == pytest.approx(of_image.var(ddof=1) / 400 + (100 / 400) ** 2)


def test_of_many_tables_each_is_as_alone() -> None:
    many = np.random.default_rng(0).choice([-100.0, 0.0, 100.0], (4, 3, 30))
    found = variances(many)
    for index, table in enumerate(many):
        assert [part[index] for part in found] == pytest.approx([float(part) for part in variances(table)])


def test_without_images_it_is_students_test() -> None:
    """On his own data."""
    found = two_way(np.subtract(*SLEEP)[:, None])
    assert found is not None
    assert (found.mean, found.df) == (pytest.approx(-1.58), pytest.approx(9.0))
    assert found.interval == pytest.approx((-2.4598858, -0.7001142), abs=1e-7)
    assert found.p == pytest.approx(0.00283289, abs=1e-8)


def test_what_says_nothing_is_no_test() -> None:
    assert two_way(np.ones((1, 500))) is None
    assert two_way(np.full((3, 1), 0.8)) is None  # no spread over seeds is no proof that there is none
    same = two_way(np.zeros((3, 1)))
    assert same is not None
    assert (same.t, same.p, same.interval) == (0.0, pytest.approx(1.0), (0.0, 0.0))


def test_images_that_agree_leave_the_doubt_of_one() -> None:
    found = two_way(np.zeros((3, 500)))
    assert found is not None
    half = stats.t.ppf(0.975, 499) * 100 / 500
    assert (found.mean, found.p, found.interval) == (0.0, 1.0, pytest.approx((-half, half)))


def test_degrees_of_freedom_are_those_of_banerjees_width() -> None:
    seeds, images = np.array(2.0), np.array(3.0)
    df = float(degrees(seeds, 2, images, 499))
    wide, narrow = stats.t.ppf(0.975, 2), stats.t.ppf(0.975, 499)
    assert stats.t.ppf(0.975, df) ** 2 * 5 == pytest.approx(wide**2 * 2 + narrow**2 * 3)
    assert float(degrees(seeds, 2, np.array(0.0), 499)) == pytest.approx(2.0)
    assert float(degrees(np.array(0.0), 2, images, 499)) == pytest.approx(499.0)


@quick
@given(tables, st.randoms(use_true_random=False))
def test_the_interval_leaves_zero_out_where_the_test_rejects(rows: list[list[int]], random: object) -> None:
    table = np.array(rows, dtype=np.float64)
    found, back = two_way(table), two_way(-table)
    assert found is not None
    assert back is not None
    assert (found.p, found.mean) == (pytest.approx(back.p), pytest.approx(-back.mean))
    low, high = found.interval
    assert (found.p <= 0.05) == (not low < 0 < high)
    assert len(rows) - 1 <= found.df <= 11
    turned = two_way(table[::-1, np.random.default_rng(0).permutation(12)])
    assert turned is not None
    assert (turned.mean, turned.p) == (pytest.approx(found.mean), pytest.approx(found.p))


@pytest.mark.parametrize(("of_seed", "of_image"), [(0.0, 30.0), (1.0, 0.0), (1.0, 10.0), (5.0, 30.0)])
def test_two_way_intervals_cover_the_mean_at_least_as_often_as_they_say(of_seed: float, of_image: float) -> None:
    """Four standard deviations of the binomial below 95 %: wrong by chance once in 30,000 seeds, and it is fixed."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 40, (1000, 3, 100)) + of_seed * rng.normal(0, 1, (1000, 3, 1))
    found = [two_way(table) for table in noise + of_image * rng.normal(0, 1, (1000, 1, 100))]
    covered = sum(one is not None and one.interval[0] < 0 < one.interval[1] for one in found)
    assert covered > 950 - 4 * (1000 * 0.95 * 0.05) ** 0.5


def test_the_interval_of_the_largest_is_that_of_the_only_one() -> None:
    table = 100.0 * (np.random.default_rng(3).random((4, 60)) < 0.3)
    found, alone = interval_of_largest([table]), two_way(table)
    assert alone is not None
    assert found == pytest.approx(alone.interval)
    assert interval_of_largest([table[:1]]) is None


def test_the_ends_of_the_largest_are_each_the_largest() -> None:
    """Below at 5 % / 2k, above at 5 % / 2; the table of the smaller mean varies more and has the upper end."""
    rng = np.random.default_rng(4)
    tables = [10.0 + rng.normal(size=(5, 40)), 9.9 + 3.0 * rng.normal(size=(5, 1)) + rng.normal(size=(5, 40))]
    found = interval_of_largest(tables)
    ends = []
    for table in tables:
        _, of_seeds, of_images = variances(table)
        quantiles = [
            (stats.t.ppf(1 - tail, 4) ** 2 * of_seeds + stats.t.ppf(1 - tail, 39) ** 2 * of_images) ** 0.5
            for tail in (0.0125, 0.025)
        ]
        ends.append((table.mean() - quantiles[0], table.mean() + quantiles[1]))
    assert found == pytest.approx((ends[0][0], ends[1][1]))
    assert found == (pytest.approx(max(low for low, _ in ends)), pytest.approx(max(high for _, high in ends)))


@pytest.mark.parametrize("truths", [[1.0] * 10, [0.0, 0.0, 3.0]])
def test_the_interval_of_the_largest_holds_though_it_was_picked(truths: list[float]) -> None:
    """That of the picked mean alone holds the largest true one in about 85 of 100 cases, if ten are equal."""
    rng = np.random.default_rng(5)
    held, alone, repetitions = 0, 0, 300
    for _ in range(repetitions):
        tables = [
            truth + rng.normal(size=(6, 1)) + 20.0 * rng.normal(size=(1, 200)) + 15.0 * rng.normal(size=(6, 200))
            for truth in truths
        ]
        low, high = interval_of_largest(tables) or (np.nan, np.nan)
        held += low <= max(truths) <= high
        picked = two_way(max(tables, key=lambda table: float(table.mean())))
        alone += picked is not None and picked.interval[0] <= max(truths) <= picked.interval[1]
    assert held >= 0.95 * repetitions
    assert len(truths) < 10 or alone < 0.93 * repetitions


def test_values_with_a_table_have_its_interval() -> None:
    table = np.array([[100.0, 0.0, 0.0, 0.0], [100.0, 0.0, 100.0, 0.0]])
    found, test = measured([25.0, 50.0], table), two_way(table)
    assert test is not None
    assert (found.mean, found.std) == (37.5, pytest.approx(25 / 2**0.5))
    assert (found.standard_error, found.interval) == (test.standard_error, test.interval)
    assert measured([25.0, 50.0], None) == Summary(2, 37.5, pytest.approx(25 / 2**0.5), None, None)


def test_answers_are_read_bit_by_bit() -> None:
    found = Answered(clean="8A==", attacked="yA==", images=5)  # 11110 and 11001
    assert contribution(found, "acc1").tolist() == [100.0, 100.0, 100.0, 100.0, 0.0]
    assert contribution(found, "acc2").tolist() == [100.0, 100.0, 0.0, 0.0, 100.0]
    assert contribution(found, "drop").tolist() == [0.0, 0.0, 100.0, 100.0, -100.0]


def test_a_record_without_answers_leaves_seeds_alone_random(planted: Callable[..., Record]) -> None:
    """A table of the others' answers would be of other seeds than the mean."""
    whole = [planted(drop=drop, seed=seed) for seed, drop in enumerate([1.0, 2.0, 4.0])]
    older = planted(drop=3.001, seed=3)
    found, mixed = spread(whole, "drop"), spread([*whole, older], "drop")
    assert found is not None
    assert found.random is Random.SEEDS_AND_IMAGES
    assert mixed == Spread(summary([1.0, 2.0, 4.0, 90.0 - (90.0 - 3.001)]), Random.SEEDS)
    assert spread([planted(drop=None), *whole], "drop") == found  # a failure has no drop
    assert spread([planted(drop=None)], "drop") is None
    assert spread(whole[:1], "drop") == Spread(summary([1.0]), None)


@pytest.mark.parametrize(
    ("k", "df", "upper", "q"),
    [(3, 10, 0.05, 3.877), (10, 5, 0.05, 6.995), (2, 2, 0.05, 6.085), (5, 20, 0.01, 5.294), (10, 1e9, 0.05, 4.474)],
)
def test_the_studentized_range_is_that_of_the_tables(k: int, df: float, upper: float, q: float) -> None:
    """Of Harter, Tables of range and studentized range, Annals of Mathematical Statistics, 1960."""
    assert float(survival(q, k, df)) == pytest.approx(upper, rel=2e-3)


@pytest.mark.parametrize("k", [2, 3, 10, 30])
def test_the_studentized_range_is_scipys(k: int) -> None:
    q = np.array([0.0, 1.0, 3.0, 5.0, 9.0, 20.0])
    for df in (2.0, 2.7, 6.0, 40.0, 499.0):
        assert survival(q, k, df) == pytest.approx(stats.studentized_range.sf(q, k, df), abs=1e-4)
    assert survival(2**0.5 * 2.5, 2, 7.0) == pytest.approx(2 * stats.t.sf(2.5, 7))
    assert survival([1.0, 2.0], k, [3.0, 9.0]) == pytest.approx(
        [float(survival(1.0, k, 3.0)), float(survival(2.0, k, 9.0))]
    )


@pytest.mark.parametrize(
    ("only_a", "only_b", "p"),
    [(1, 6, 2 * (1 + 7) / 2**7), (0, 5, 2 / 2**5), (5, 0, 2 / 2**5), (3, 3, 1.0), (0, 1, 1.0), (0, 0, 1.0)],
)
def test_mcnemar_by_hand(only_a: int, only_b: int, p: float) -> None:
    a = np.array([1] * only_a + [0] * only_b + [1, 1, 0])
    b = np.array([0] * only_a + [1] * only_b + [1, 1, 0])
    found = mcnemar(a, b)
    assert (found.only_a, found.only_b, found.p) == (only_a, only_b, pytest.approx(p))
    assert found.p == pytest.approx(stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0)


def test_mcnemar_is_of_the_same_images() -> None:
    with pytest.raises(ValueError, match="the same images"):
        mcnemar(np.ones(3, dtype=np.int8), np.ones(1, dtype=np.int8))
