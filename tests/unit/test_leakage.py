"""Test images among the poison: found within half a grey level, and only those."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from poisonbench.errors import ValidationError
from poisonbench.guard.leakage import TOLERANCE, copies, refuse_test_images


def images(n: int, seed: int, levels: int = 255, shape: tuple[int, int, int] = (1, 6, 7)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(levels + 1, (n, *shape), generator=generator) / levels


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(0, 30),
    m=st.integers(0, 30),
    levels=st.sampled_from([1, 2, 16, 255]),
    shape=st.sampled_from([(1, 1, 1), (1, 2, 2), (3, 4, 4)]),
    scale=st.sampled_from([0.0, 0.49, 0.51, 2.0]),
    seed=st.integers(0, 1000),
)
def test_it_finds_what_a_comparison_of_all_pairs_finds(
    n: int, m: int, levels: int, shape: tuple[int, int, int], scale: float, seed: int
) -> None:
    x, others = images(n, seed, levels, shape), images(m, seed + 1, levels, shape)
    both = min(n, m) // 2
    noise = torch.rand((both, *shape), generator=torch.Generator().manual_seed(seed)) * 2 - 1
    x[:both] = others[:both] + noise * scale / 255
    distance = (x[:, None] - others[None]).abs().flatten(2).amax(2) if n and m else torch.ones(n, 1)
    assert torch.equal(copies(x, others), distance.amin(1) <= TOLERANCE + 1e-6)


def test_a_set_with_test_images_is_refused_and_says_how_many() -> None:
    test, train, validation, poison = (images(20, seed) for seed in range(4))
    refuse_test_images("mine", poison, test, (train, validation))
    poison[3:5] = test[7:9] + 0.4 / 255
    with pytest.raises(ValidationError, match="mine's poison set has 2 rows that are images of the test set"):
        refuse_test_images("mine", poison, test, (train, validation))


def test_an_image_that_is_in_both_sets_is_the_attackers_to_use() -> None:
    test, train, validation, poison = (images(20, seed) for seed in range(4))
    train[0], validation[0] = test[7], test[8]
    poison[3:5] = test[7:9]
    refuse_test_images("mine", poison, test, (train, validation))
    poison[9] = test[9]
    with pytest.raises(ValidationError, match="has 1 row that is an image"):
        refuse_test_images("mine", poison, test, (train, validation))


def test_many_rows_in_several_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poisonbench.guard.leakage._PAIRS_AT_ONCE", 8)
    test = images(200, 1, levels=2)
    assert bool(copies(test.clone(), test).all())
    assert not bool(copies(test + 1 / 255, test).any())
