"""Child streams: a function of seed and name alone."""

import random

import torch
from hypothesis import given
from hypothesis import strategies as st

from poisonbench.seeding import child_generator, child_seed


def test_streams_are_pinned() -> None:
    """Every published number hangs on these: 53 bits of SHA-256 of "seed/name"."""
    assert child_seed(0, "split") == 3681582949949676
    assert child_seed(0, "digits", "test") == 3652599196832255


@given(seed=st.integers(0, 2**63), names=st.lists(st.text(max_size=8), min_size=1, max_size=3))
def test_seeds_survive_json_and_repeat(seed: int, names: list[str]) -> None:
    found = child_seed(seed, *names)
    assert 0 <= found < 2**53
    assert int(float(found)) == found
    assert child_seed(seed, *names) == found


def test_streams_differ_by_seed_and_by_name() -> None:
    seeds = [child_seed(seed, *names) for seed in range(50) for names in (["train"], ["attack"], ["a", "b"], ["a"])]
    assert len(set(seeds)) == len(seeds)


def test_a_stream_does_not_depend_on_what_was_drawn_before() -> None:
    names = ["split", "train", "attack", "defense", "order"]
    expected = {name: torch.rand(4, generator=child_generator(7, name)) for name in names}
    random.Random(0).shuffle(names)
    for name in names:
        torch.rand(3)
        assert torch.equal(torch.rand(4, generator=child_generator(7, name)), expected[name])


def test_streams_are_independent() -> None:
    """Correlation of 4,000 paired uniforms of two streams is within 4 standard errors, 4 / √4000."""
    a, b = (torch.rand(4000, generator=child_generator(0, name), dtype=torch.float64) for name in ("train", "attack"))
    assert abs(float(torch.corrcoef(torch.stack([a, b]))[0, 1])) < 4 / 4000**0.5


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    torch.rand(5, generator=child_generator(0, "x"))
    assert torch.equal(torch.get_rng_state(), before)
