"""The split uses every row once, in an order that the generator alone decides."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from poisonbench.data.split import Sizes, split, split_sizes
from poisonbench.errors import ConfigError
from poisonbench.problem.samples import Samples


def samples(n: int) -> Samples:
    ids = torch.arange(100, 100 + n)
    return Samples(ids[:, None, None, None].float(), ids % 7, ids)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(n=st.integers(1, 300), validation=st.floats(0, 0.99), seed=st.integers(0, 2**32))
def test_disjoint_complete_and_of_the_right_size(n: int, validation: float, seed: int) -> None:
    if round(validation * n) == n:
        with pytest.raises(ConfigError, match="none to train on"):
            split(samples(n), validation, seeded(seed))
        return
    parts = split(samples(n), validation, seeded(seed))
    train, held_out = parts.train, parts.validation
    assert parts.trusted is held_out
    assert len(held_out) == round(validation * n)
    assert sorted(train.ids.tolist() + held_out.ids.tolist()) == list(range(100, 100 + n))
    for part in (train, held_out):  # rows stay whole: image, label and id belong together
        assert torch.equal(part.x.flatten(), part.ids.float())
        assert torch.equal(part.y, part.ids % 7)


@given(seed=st.integers(0, 2**32))
def test_depends_on_the_generator_only(seed: int) -> None:
    first = split(samples(50), 0.3, seeded(seed))
    torch.manual_seed(seed + 1)
    second = split(samples(50), 0.3, seeded(seed))
    assert torch.equal(first.train.ids, second.train.ids)
    assert torch.equal(first.validation.ids, second.validation.ids)
    assert not torch.equal(first.train.ids, split(samples(50), 0.3, seeded(seed + 1)).train.ids)


def test_the_global_generator_is_untouched() -> None:
    before = torch.get_rng_state()
    split(samples(50), 0.3, seeded(0))
    assert torch.equal(before, torch.get_rng_state())


def test_the_papers_split() -> None:
    pool = samples(60000)
    train = split(pool, 0.3, seeded(0)).train
    assert (len(train), len(split(pool, 0.3, seeded(0)).validation)) == (42000, 18000)
    # A random order, not an ascending one: the first rows of D_tr are what attacks initialise from.
    head = train.ids[:1000].float()
    assert abs(head.mean() - pool.ids.float().mean()) < 5 * pool.ids.float().std() / 1000**0.5
    assert not torch.equal(head, head.sort().values)


@pytest.mark.parametrize("validation", [-0.1, 1.0, 3.0, float("nan")])
def test_a_fraction_outside_its_range(validation: float) -> None:
    with pytest.raises(ConfigError, match="validation"):
        split(samples(10), validation, seeded(0))


@given(rows=st.integers(1, 35), seed=st.integers(0, 2**32))
def test_fewer_rows_are_the_first_ones_of_the_same_split(rows: int, seed: int) -> None:
    whole, part = split(samples(50), 0.3, seeded(seed)), split(samples(50), 0.3, seeded(seed), rows)
    assert torch.equal(part.train.ids, whole.train.ids[:rows])
    assert torch.equal(part.validation.ids, whole.validation.ids)


@given(seed=st.integers(0, 2**32), trusted=st.floats(0.011, 0.3))
def test_the_defenders_own_rows_are_nobody_elses(seed: int, trusted: float) -> None:
    parts = split(samples(100), 0.29, seeded(seed), None, trusted)
    assert [len(part) for part in (parts.validation, parts.trusted)] == [29, round(100 * trusted)]
    ids = [one for part in (parts.train, parts.validation, parts.trusted) for one in part.ids.tolist()]
    assert sorted(ids) == list(range(100, 200))


def test_as_many_rows_are_trained_on_with_some_trusted_as_with_none() -> None:
    assert split_sizes(60000, 0.29, None, 0.01) == Sizes(42000, 17400, 600)
    assert split_sizes(60000, 0.3) == Sizes(42000, 18000, 0)
    with pytest.raises(ConfigError, match=r"trusted: 0\.01 of 40 rows is not even one"):
        split_sizes(40, 0.3, None, 0.01)


@pytest.mark.parametrize("rows", [0, 36])
def test_more_rows_than_there_are(rows: int) -> None:
    with pytest.raises(ConfigError, match="train_rows: expected 1 to 35, the rows of D_tr"):
        split(samples(50), 0.3, seeded(0), rows)
