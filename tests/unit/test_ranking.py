"""Ranks: planted ties and planted differences, against SciPy's tests one by one."""

from __future__ import annotations

import math
from itertools import combinations
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from poisonbench.leaderboard.statistics.paired import holm, paired_t
from poisonbench.leaderboard.statistics.ranking import SEEDS, Seeds, differences, ranks, tied

noise = st.lists(st.floats(-1, 1), min_size=6, max_size=6)
tables = st.lists(
    st.dictionaries(st.integers(0, 5), st.integers(-30, 30).map(lambda n: n / 10), max_size=6), min_size=1, max_size=6
)


def slow_differences(entries: list[Seeds]) -> dict[tuple[int, int], bool]:
    """By hand: every pair by scipy.stats, then Holm over those that have a p."""
    p = {}
    for a, b in combinations(range(len(entries)), 2):
        seeds = sorted(set(entries[a]) & set(entries[b]))
        gaps = [entries[a][seed] - entries[b][seed] for seed in seeds]
        if len(seeds) < 2 or (np.ptp(gaps) < 1e-9 and abs(gaps[0]) > 1e-9):
            continue
        same = max(map(abs, gaps)) < 1e-9
        found = stats.ttest_rel([entries[a][s] for s in seeds], [entries[b][s] for s in seeds])
        p[a, b] = 1.0 if same else float(found.pvalue)
    ordered = sorted(p, key=lambda pair: p[pair])
    adjusted, most = {}, 0.0
    for index, pair in enumerate(ordered):
        most = max(most, min(1.0, (len(ordered) - index) * p[pair]))
        adjusted[pair] = most
    return {pair: adjusted.get(pair, 1.0) <= 0.05 for pair in combinations(range(len(entries)), 2)}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # SciPy's, for equal numbers
@given(tables)
@settings(max_examples=60, deadline=None)
def test_differences_are_scipys_with_holm(entries: list[Seeds]) -> None:
    found = differences(entries)
    assert {pair: bool(found[pair]) for pair in combinations(range(len(entries)), 2)} == slow_differences(entries)
    assert (found == found.T).all()
    assert not found.diagonal().any()


@given(noise, st.integers(2, 5), st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_planted_steps_are_found_and_planted_ties_share_a_rank(
    common: list[float], groups: int, random: Random
) -> None:
    """Groups of two that differ by ± 0.01, which is no steady difference; 100 points from group to group."""
    wobble = [0.01, -0.01, 0.01, -0.01, 0.01, -0.01]
    entries = []
    for group in range(groups):
        base = [-100.0 * group + value for value in common]
        entries += [base, [x + w for x, w in zip(base, wobble, strict=True)]]
    # A steady gap of 100 with spread 0 would be no test: seeds move every entry a little.
    jitter = np.random.default_rng(0).normal(0, 0.5, (len(entries), 6))
    jitter[1::2] = jitter[::2]
    rows: list[Seeds] = [dict(enumerate((np.array(row) + jitter[i]).tolist())) for i, row in enumerate(entries)]
    order = list(range(len(rows)))
    random.shuffle(order)
    found = ranks([rows[i] for i in order], largest_first=True)
    assert dict(zip(order, found, strict=True)) == {i: i // 2 * 2 + 1 for i in range(len(rows))}
    upside_down = ranks([rows[i] for i in order], largest_first=False)
    expected = {i: (groups - 1 - i // 2) * 2 + 1 for i in range(len(rows))}
    assert dict(zip(order, upside_down, strict=True)) == expected


@given(tables)
@settings(max_examples=60, deadline=None)
def test_ranks_go_down_with_the_mean_and_leave_out_those_with_few_seeds(entries: list[Seeds]) -> None:
    found = ranks(entries, largest_first=True)
    assert [rank is None for rank in found] == [len(entry) < SEEDS for entry in entries]
    ranked = sorted(
        ((-math.fsum(entry.values()) / len(entry), rank) for entry, rank in zip(entries, found, strict=True) if rank)
    )
    numbers = [rank for _, rank in ranked]
    if ranked and len({round(mean, 9) for mean, _ in ranked}) == len(ranked):
        assert numbers == sorted(numbers)
        assert numbers[0] == 1
        assert all(rank == index + 1 or rank == numbers[index - 1] for index, rank in enumerate(numbers))


def test_a_noisy_entry_hides_no_difference_of_others() -> None:
    """1, 1, 3: the noisy second ties with the first, and the third differs from the first."""
    first = {0: 10.0, 1: 10.1, 2: 9.9, 3: 10.0, 4: 10.05}
    noisy = {0: 2.0, 1: 18.0, 2: 3.0, 3: 17.0, 4: 9.0}
    third = {0: 1.0, 1: 1.2, 2: 0.9, 3: 1.1, 4: 1.0}
    assert ranks([third, noisy, first], largest_first=True) == [3, 1, 1]


def test_more_seeds_of_one_do_not_count_for_a_pair() -> None:
    a = {0: 1.0, 1: 2.0, 2: 3.0}
    b = {0: 1.1, 1: 1.9, 2: 3.0, **{seed: -100.0 - seed for seed in range(3, 9)}}
    assert not differences([a, b]).any()
    assert paired_t([1.0, 2.0, 3.0], [1.1, 1.9, 3.0]).p == pytest.approx(1.0)


def test_ties_with_the_best_are_a_family_of_their_own() -> None:
    best = {0: 10.0, 1: 10.5, 2: 9.5, 3: 10.2}
    near, far, few = {0: 9.9, 1: 10.6, 2: 9.6, 3: 10.1}, {0: 1.0, 1: 1.1, 2: 0.8, 3: 1.0}, {0: 10.0, 1: 10.5}
    assert tied(best, [near, far, few]) == [True, False, False]
    assert tied(few, [near]) == [False]
    # Two tests: p of 3 % is none after Holm.
    gap = [1.0, 2.2, 1.9, 0.4]
    other = {seed: best[seed] - x for seed, x in enumerate(gap)}
    p = paired_t(list(best.values()), list(other.values())).p
    assert p is not None
    assert 0.025 < p < 0.05
    assert tied(best, [other]) == [False]
    assert holm([p, 0.9])[0] > 0.05
    assert tied(best, [other, near]) == [True, True]
