"""Intervals and tests against textbooks, brute force and simulation."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from poisonbench.leaderboard.statistics.over_images import mcnemar, over_images
from poisonbench.leaderboard.statistics.paired import Paired, holm, paired_t
from poisonbench.leaderboard.statistics.summaries import Summary, summary

# Hours of sleep that two drugs gave the same ten patients: Student, The probable error of a mean, 1908.
SLEEP = (
    [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0],
    [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4],
)
accuracies = st.integers(0, 500).map(lambda right: 100.0 * right / 500)
pairs = st.lists(st.tuples(accuracies, accuracies), min_size=2, max_size=6)
small = st.lists(st.integers(-4, 4), min_size=1, max_size=9)
quick = settings(max_examples=50, deadline=None)


def ones(*signs: int) -> np.ndarray:
    return np.array([signs])


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


def test_paired_t_on_students_own_data() -> None:
    found = paired_t(*SLEEP)
    assert found.difference.mean == pytest.approx(-1.58)
    assert found.difference.interval == pytest.approx((-2.4598858, -0.7001142), abs=1e-7)
    assert found.p == pytest.approx(0.00283289, abs=1e-8)


@quick
@given(pairs)
def test_the_interval_leaves_zero_out_where_the_test_rejects(numbers: list[tuple[float, float]]) -> None:
    a, b = zip(*numbers, strict=True)
    found, back = paired_t(a, b), paired_t(b, a)
    assert (found.p, found.difference.std) == (pytest.approx(back.p), pytest.approx(back.difference.std))
    assert found.difference.mean == -back.difference.mean
    turned = paired_t(a[::-1], b[::-1])
    assert turned.p == pytest.approx(found.p)
    if found.difference.interval is not None:
        low, high = found.difference.interval
        assert found.p is not None
        assert (found.p < 0.05) == (not low <= 0 <= high)
        assert back.difference.interval == pytest.approx((-high, -low))


def test_pairs_are_by_position_and_not_by_size() -> None:
    ordered, shuffled = paired_t([1.0, 2.0, 4.0], [1.5, 2.5, 4.6]), paired_t([1.0, 2.0, 4.0], [2.5, 4.6, 1.5])
    assert ordered.difference.mean == pytest.approx(shuffled.difference.mean)
    assert ordered.p is not None
    assert shuffled.p is not None
    assert ordered.p < 0.01 < 0.5 < shuffled.p
    with pytest.raises(ValueError, match="expected pairs, got 2 and 3"):
        paired_t([1.0, 2.0], [1.0, 2.0, 3.0])


def test_no_difference_at_all_is_p_one_and_an_equal_one_is_no_test() -> None:
    assert paired_t([1.0, 2.0], [1.0, 2.0]) == Paired(Summary(2, 0.0, 0.0, 0.0, None), 1.0)
    assert paired_t([1.0], [0.5]) == Paired(Summary(1, 0.5, None, None, None), None)
    drops = [94.4 - 93.6, 95.2 - 94.4, 94.8 - 94.0]
    assert len(set(drops)) == 2  # all are 0.8, but for the last bits: that is not a spread
    found = paired_t(drops, [0.0, 0.0, 0.0])
    assert (found.difference.mean, found.difference.std, found.difference.interval) == (pytest.approx(0.8), 0.0, None)
    assert found.p is None
    assert paired_t(drops, [0.8, 0.8, 0.8]).p == 1.0


@pytest.mark.parametrize(
    ("only_a", "only_b", "p"),
    [(1, 6, 2 * (1 + 7) / 2**7), (0, 5, 2 / 2**5), (5, 0, 2 / 2**5), (3, 3, 1.0), (0, 1, 1.0), (0, 0, 1.0)],
)
def test_mcnemar_by_hand(only_a: int, only_b: int, p: float) -> None:
    a = np.array([True] * only_a + [False] * only_b + [True, True, False])
    b = np.array([False] * only_a + [True] * only_b + [True, True, False])
    found = mcnemar(a, b)
    assert (found.only_a, found.only_b, found.p) == (only_a, only_b, pytest.approx(p))
    one_seed = over_images((a.astype(int) - b.astype(int))[None])
    assert one_seed.p == pytest.approx(p)
    assert one_seed.difference.mean == pytest.approx(100 * (only_a - only_b) / len(a))


def test_mcnemar_is_of_the_same_images() -> None:
    with pytest.raises(ValueError, match="the same images"):
        mcnemar(np.ones(3, dtype=bool), np.ones(1, dtype=bool))


@quick
@given(small)
def test_the_sign_flip_test_is_that_over_every_sign(differences: list[int]) -> None:
    sums = [abs(np.dot(signs, differences)) for signs in product((-1, 1), repeat=len(differences))]
    expected = np.mean(np.array(sums) >= abs(sum(differences)))
    assert over_images(ones(*differences)).p == pytest.approx(expected, rel=1e-12)
    assert over_images(-ones(*differences)).p == pytest.approx(expected, rel=1e-12)


def test_the_sign_flip_test_is_scipys() -> None:
    differences = np.array([[1, 0, 1, -1, 1, 1, 0, 1], [0, 0, 1, 1, 1, 0, -1, 1], [1, 0, 1, 0, 1, 1, 1, 1]])
    found = over_images(differences)
    mean = differences.mean(axis=0)
    assert found.difference.mean == pytest.approx(100 * mean.mean())
    assert found.difference.standard_error == pytest.approx(100 * stats.sem(mean))
    exact = stats.permutation_test((mean,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert found.p == pytest.approx(exact.pvalue)


@quick
@given(st.lists(st.lists(st.integers(-1, 1), min_size=6, max_size=6), min_size=1, max_size=4))
def test_images_count_and_seeds_do_not(differences: list[list[int]]) -> None:
    d = np.array(differences)
    p = over_images(d).p
    assert over_images(np.repeat(d, 3, axis=0)).p == pytest.approx(p)  # models that agree are no further evidence
    assert over_images(d[:, ::-1]).p == over_images(d[::-1]).p == p
    right_in_both = np.zeros((len(d), 50), dtype=int)
    assert over_images(np.hstack([d, right_in_both])).p == pytest.approx(p)
    if p is not None and p < 1:
        assert over_images(np.hstack([d, d])).p < p


def test_many_images_are_nearly_normal() -> None:
    d = np.random.default_rng(0).choice([-2, -1, 0, 1, 2], size=(3, 10_000), p=[0.01, 0.06, 0.85, 0.07, 0.01])
    total = d.sum(axis=0)
    z = (abs(total.sum()) - 1) / np.sqrt((total**2).sum())  # less half of the lattice's step of 2
    p = over_images(d).p
    assert p is not None
    assert 1e-6 < p < 0.05
    assert p == pytest.approx(2 * stats.norm.sf(z), rel=0.01)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.03]) == [0.03]
    assert holm([]) == []


@quick
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_holm_is_the_closure_of_bonferroni(p: list[float], random: object) -> None:
    """A hypothesis is rejected if Bonferroni rejects every intersection that it is in."""
    m = len(p)
    subsets = [chosen for size in range(1, m + 1) for chosen in combinations(range(m), size)]
    bonferroni = {chosen: min(1.0, len(chosen) * min(p[i] for i in chosen)) for chosen in subsets}
    expected = [max(bonferroni[chosen] for chosen in subsets if i in chosen) for i in range(m)]
    found = holm(p)
    assert found == pytest.approx(expected)
    assert all(raw <= adjusted <= min(1.0, m * raw) * (1 + 1e-12) for raw, adjusted in zip(p, found, strict=True))
    order = np.argsort(p, kind="stable")
    assert np.all(np.diff(np.array(found)[order]) >= 0)
    shuffled = list(range(m))
    random.shuffle(shuffled)
    assert holm([p[i] for i in shuffled]) == pytest.approx([found[i] for i in shuffled])
