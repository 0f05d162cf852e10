"""Ranks: planted ties and planted steps, the steps by SciPy one by one, and what must change nothing."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from poisonbench.leaderboard.statistics import ranking
from poisonbench.leaderboard.statistics.ranking import Contributions, Ranking, every_pair, rank, shared_seeds
from poisonbench.leaderboard.statistics.stepdown import ahead, borrowed, step_down
from poisonbench.leaderboard.statistics.two_way import two_way

IMAGES = 400
SEEDS = (0, 1, 2)


def entry(value: float, seed: int, seeds: int = 3, noise: float = 0.02) -> Contributions:
    """Of an attack with about that drop: each image is lost with that chance, most of them in all seeds."""
    rng = np.random.default_rng(seed)
    chance = rng.random(IMAGES)
    return {
        one: 100.0 * (chance + rng.normal(0, noise, IMAGES) < value / 100).astype(np.float32) for one in range(seeds)
    }


def mean(found: Contributions, seeds: tuple[int, ...] = SEEDS) -> float:
    return float(np.mean([found[seed] for seed in seeds]))


families = st.lists(st.tuples(st.sampled_from([0, 5, 10, 40, 80]), st.integers(0, 99)), min_size=1, max_size=6).map(
    lambda drawn: {f"e{index}": entry(value, seed) for index, (value, seed) in enumerate(drawn)}
)
quick = settings(max_examples=30, deadline=None)


def test_the_steps_are_scipys() -> None:
    """Ryan's: of three behind the first, in a family of five, the clearest is one of a range over 4, and so on."""
    q, df, k = np.array([2.0, 9.0, 5.0]), np.array([6.0, 8.0, 7.0]), 5
    over = [stats.studentized_range.sf(q[1], 4, 8.0), stats.studentized_range.sf(q[2], 3, 7.0)]
    last = stats.studentized_range.sf(q[0], 2, 6.0)
    expected = [1 - (1 - last) ** (5 / 2), over[0], max(over[0], 1 - (1 - over[1]) ** (5 / 3))]
    assert step_down(q, df, k) == pytest.approx(expected, abs=1e-5)
    # What is told less clearly has no smaller p, though its range is over fewer.
    near = step_down(np.array([3.55, 3.6, 3.5]), np.full(3, 20.0), 4)
    assert near == pytest.approx([stats.studentized_range.sf(3.6, 4, 20.0)] * 3, abs=1e-5)
    assert stats.studentized_range.sf(3.55, 3, 20.0) < near[0] - 0.01


def test_of_two_it_is_their_paired_test() -> None:
    entries = {"a": entry(12, 1), "b": entry(9, 2)}
    first = max(entries, key=lambda name: mean(entries[name]))
    other = min(entries, key=lambda name: mean(entries[name]))
    found = rank(entries, SEEDS, "largest")
    alone = two_way(np.stack([entries[first][seed] - entries[other][seed] for seed in SEEDS]))
    assert alone is not None
    assert found.p == {other: pytest.approx(alone.p, abs=1e-6)}


def test_a_variance_is_borrowed_from_the_others() -> None:
    rows = np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [2.0, 3.0, 4.0], [5.0, 3.0, 4.0]])
    # Variances of the pairs by three seeds: 0, 1, 1, 1, 1, 3. Of the first: 0, 1, 1.
    assert borrowed(rows, 0) == pytest.approx(1 / 3)
    assert borrowed(rows, 3) == pytest.approx(1 / 3)
    assert borrowed(rows[:2], 0) == 0.0


@pytest.mark.parametrize("k", [2, 3, 5, 6])
def test_a_pair_has_its_own_variance_or_the_borrowed_one_and_degrees_of_freedom_for_it(k: int) -> None:
    """Without images, so that seeds alone are random: SciPy's range with (n − 1) (k − 1) degrees of freedom, at most
    three times n − 1. The second entry goes with the first through all seeds, and looks clear by chance."""
    rows = np.array(
        [[0.0, 1.0, 2.2], [4.0, 5.1, 6.2], [5.0, 9.0, 4.5], [9.0, 5.0, 8.0], [7.0, 9.5, 11.5], [12.0, 8.0, 15.0]]
    )[:k]
    assert (np.diff(rows.mean(axis=1)) > 0).all()
    apart = {(i, j): float(np.var(rows[i] - rows[j], ddof=1) / 3) for i in range(k) for j in range(k) if i != j}
    everyone = sorted(apart[i, j] for i in range(k) for j in range(i))
    for first in (0, 1)[: k - 1]:
        usual = max(
            everyone[(len(everyone) - 1) // 2], float(np.median([apart[first, j] for j in range(k) if j != first]))
        )
        q, behind = {}, range(first + 1, k)
        for j in behind:
            q[j] = 2**0.5 * (rows[j] - rows[first]).mean() / max(usual, apart[first, j]) ** 0.5
        expected, highest, df = {}, 0.0, 2 * min(k - 1, 3)
        for left, j in zip(range(len(behind) + 1, 1, -1), sorted(behind, key=lambda j: -q[j]), strict=True):
            p = float(stats.studentized_range.sf(q[j], left, df))
            highest = max(highest, p if left >= k - 1 else 1 - (1 - p) ** (k / left))
            expected[j] = highest
        assert ahead(rows[:, :, None], first) == pytest.approx([expected[j] for j in behind], abs=2e-4)


@pytest.mark.parametrize(
    ("found", "ranks", "pairs"),
    [
        # The second is ahead of the third, of which the first is not: then nor is the second.
        ([[0.01, 0.2, 0.3], [0.01, 0.02], [0.4]], [1, 2, 2, 2], {"bc": 0.2, "bd": 0.3, "cd": 0.4}),
        ([[0.01, 0.01, 0.2], [0.3, 0.01], [0.01]], [1, 2, 2, 2], {"bc": 0.3, "bd": 0.2, "cd": 0.2}),
        # And what the first is not ahead of is behind nobody, however many ranks are between.
        ([[0.01, 0.01, 0.2], [0.01, 0.01], [0.01]], [1, 2, 3, 3], {"bc": 0.01, "bd": 0.2, "cd": 0.2}),
        ([[0.01, 0.01, 0.01], [0.01, 0.01], [0.01]], [1, 2, 3, 4], {"bc": 0.01, "bd": 0.01, "cd": 0.01}),
        ([[0.2, 0.01, 0.01], [0.3, 0.01], [0.06]], [1, 1, 3, 3], {"bc": 0.3, "bd": 0.01, "cd": 0.06}),
    ],
)
def test_nobody_is_ahead_of_what_those_before_are_not_ahead_of(
    found: list[list[float]], ranks: list[int], pairs: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking, "ahead", lambda tables, first: np.array(found[first]))
    entries = {name: {seed: np.full(5, float(mean)) for seed in SEEDS} for mean, name in enumerate("abcd")}
    assert rank(entries, SEEDS, "smallest").ranks == dict(zip("abcd", ranks, strict=True))
    every = every_pair(entries, SEEDS, "smallest")
    assert {pair: every[frozenset(pair)] for pair in pairs} == pairs
    assert [every[frozenset(("a", other))] for other in "bcd"] == found[0]


@given(st.integers(2, 4), st.randoms(use_true_random=False))
@quick
def test_planted_steps_are_found_and_planted_ties_share_a_rank(groups: int, random: Random) -> None:
    """Groups of two of equal strength, 25 points from group to group."""
    entries = {f"{group}-{twin}": entry(90 - 25 * group, 10 * group) for group in range(groups) for twin in "ab"}
    names = list(entries)
    random.shuffle(names)
    found = rank({name: entries[name] for name in names}, SEEDS, "largest")
    assert found.ranks == {name: 2 * int(name[0]) + 1 for name in entries}
    assert (found.tied, found.seeds) == (("0-b",), 3)
    assert set(found.ahead) == {name for name in entries if name[0] != "0"}
    assert (found.last("0-a"), found.last(f"{groups - 1}-a")) == (2, 2 * groups)
    upside_down = rank(entries, SEEDS, "smallest")
    assert upside_down.ranks == {name: 2 * (groups - 1 - int(name[0])) + 1 for name in entries}


@given(families, st.randoms(use_true_random=False))
@quick
def test_ranks_go_with_the_means_and_not_with_the_order(entries: dict[str, Contributions], random: Random) -> None:
    found = rank(entries, SEEDS, "largest")
    means = [mean(entries[name]) for name in found.ranks]
    numbers = list(found.ranks.values())
    assert means == sorted(means, reverse=True)
    assert numbers[0] == 1
    assert all(number in (index + 1, numbers[index - 1]) for index, number in enumerate(numbers))
    assert {*found.ahead, *found.tied} == set(list(found.ranks)[1:])
    names = list(entries)
    random.shuffle(names)
    again = rank({name: entries[name] for name in names}, SEEDS, "largest")
    assert (again.ranks, again.p) == (found.ranks, found.p)


@given(families)
@quick
def test_p_of_the_steps_never_falls_from_the_clearest_on(entries: dict[str, Contributions]) -> None:
    order = list(rank(entries, SEEDS, "smallest").ranks)
    tables = np.stack([np.stack([entries[name][seed] for seed in SEEDS]) for name in order])
    for first in range(len(order) - 1):
        p = ahead(tables, first)
        assert ((p >= 0) & (p <= 1)).all()
    q, df = np.array([1.0, 2.0, 4.0, 8.0]), np.full(4, 6.0)
    assert (np.diff(step_down(q, df, 6)) <= 0).all()


@given(families)
@quick
def test_what_cannot_be_ranked_changes_nothing(entries: dict[str, Contributions]) -> None:
    others: dict[str, Contributions] = {
        "none": {},
        "disjoint": {seed + 10: part for seed, part in entry(99, 7).items()},
        "two": entry(99, 8, seeds=2),
    }
    found, more = rank(entries, SEEDS, "largest"), rank({**entries, **others}, SEEDS, "largest")
    assert (more.ranks, more.p) == (found.ranks, found.p)
    longer = {name: {**entries[name], 3: np.full(IMAGES, 100.0), 4: np.zeros(IMAGES)} for name in entries}
    assert rank(longer, SEEDS, "largest") == found


def test_a_noisy_entry_hides_no_difference_of_others() -> None:
    """It is last, and cannot be told from the first; the second is behind the first as it was without it."""
    first, second, third = entry(60, 1), entry(40, 2), entry(41, 3)
    noisy = {0: entry(90, 4)[0], 1: entry(1, 4)[0], 2: entry(1, 4)[0]}
    alone = rank({"first": first, "second": second, "third": third}, SEEDS, "largest")
    assert set(alone.ahead) == {"second", "third"}
    found = rank({"first": first, "second": second, "third": third, "noisy": noisy}, SEEDS, "largest")
    assert set(found.ahead) == {"second", "third"}
    assert found.tied == ("noisy",)
    assert found.ranks["first"] == 1
    assert {found.ranks[name] for name in ("second", "third", "noisy")} == {2}


def test_fewer_than_three_seeds_rank_nobody() -> None:
    entries = {"a": entry(50, 1), "b": entry(10, 2)}
    assert rank(entries, (0, 1), "largest") == rank({}, SEEDS, "largest") == Ranking()
    assert list(rank({"a": entries["a"]}, SEEDS, "largest").ranks.items()) == [("a", 1)]


def test_shared_seeds_are_those_of_all_that_have_enough() -> None:
    entries = {"a": entry(1, 1, seeds=5), "b": entry(1, 2, seeds=4), "few": entry(1, 3, seeds=2), "none": {}}
    assert shared_seeds(entries) == (0, 1, 2, 3)
    assert shared_seeds({}) == ()


@given(families)
@quick
def test_every_pair_is_told_as_the_ranks_are(entries: dict[str, Contributions]) -> None:
    found, pairs = rank(entries, SEEDS, "largest"), every_pair(entries, SEEDS, "largest")
    assert len(pairs) == len(entries) * (len(entries) - 1) // 2
    order = list(found.ranks)
    assert {name: pairs[frozenset((order[0], name))] for name in order[1:]} == found.p
    for name in order[1:]:
        begins = order[found.ranks[name] - 1]
        if begins != name:
            assert pairs[frozenset((begins, name))] > 0.05
        elif found.ranks[name] > 1:
            before = order[found.ranks[order[order.index(name) - 1]] - 1]
            assert pairs[frozenset((before, name))] <= 0.05


def test_a_value_without_images_is_ranked_over_seeds() -> None:
    fast = {seed: np.array([1.0 + seed / 10]) for seed in SEEDS}
    slow = {seed: np.array([9.0 - seed / 10]) for seed in SEEDS}
    same = {seed: np.array([1.0 + seed / 10]) for seed in SEEDS}
    found = rank({"slow": slow, "fast": fast, "same": same}, SEEDS, "smallest")
    assert found.ranks == {"fast": 1, "same": 1, "slow": 3}
    steady = {seed: np.array([5.0]) for seed in SEEDS}
    assert rank({"one": steady, "two": {seed: np.array([6.0]) for seed in SEEDS}}, SEEDS, "smallest").tied == ("two",)
