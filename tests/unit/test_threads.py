"""Threads by the size of the problem."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from poisonbench.models.base import work_per_row
from poisonbench.plugins.registry import load
from poisonbench.process.threads import SMALL, fitting_threads


@pytest.fixture(autouse=True)
def two() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("name", "side", "batch", "threads"),
    [("lr", 8, 100, 1), ("cnn", 8, 100, 1), ("lr", 28, 1000, 1), ("nn", 28, 1000, 2), ("cnn", 28, 1000, 2)],
)
def test_small_problems_take_one_thread(name: str, side: int, batch: int, threads: int) -> None:
    model = load("model", name)((1, side, side), 10, (0.5,), (0.5,))
    with fitting_threads(work_per_row(model) * batch):
        assert torch.get_num_threads() == threads
    assert torch.get_num_threads() == 2


def test_after_an_error_too_there_are_as_many_as_before() -> None:
    with pytest.raises(ValueError, match="boom"), fitting_threads(SMALL - 1):
        raise ValueError("boom")
    assert torch.get_num_threads() == 2


def test_work_is_that_of_matrices_and_kernels() -> None:
    linear, network = (load("model", name)((1, 8, 8), 10, (0.5,), (0.5,)) for name in ("lr", "cnn"))
    assert work_per_row(linear) == 64 * 10 + 10
    kernels = [value for value in network.init(torch.Generator()).values() if value.dim() == 4]
    assert work_per_row(network) > 64 * sum(value.numel() for value in kernels)
