"""A training step on one thread and on all of them: where `process.threads.SMALL` lies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from poisonbench.models.base import work_per_row
from poisonbench.plugins.registry import load

PROBLEMS = {
    "digits-lr": ("lr", 8, 100), "digits-cnn": ("cnn", 8, 100), "mnist-lr": ("lr", 28, 1000),
    "mnist-nn": ("nn", 28, 1000), "mnist-cnn": ("cnn", 28, 1000),
}  # fmt: skip


@pytest.fixture
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """That many, or all."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param or before)
    yield torch.get_num_threads()
    torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, None], ids=["one", "all"], indirect=True)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_gradient(benchmark: Any, problem: str, threads: int, timed: bool, generator: torch.Generator) -> None:
    name, side, batch = PROBLEMS[problem]
    batch = batch if timed else 4
    model = load("model", name)((1, side, side), 10, (0.5,), (0.5,))
    weights = {key: value.requires_grad_() for key, value in model.init(generator).items()}
    z, y = torch.rand(batch, 1, side, side), torch.zeros(batch, dtype=torch.int64)
    z = model.normalise(z)
    benchmark.extra_info |= {"threads": threads, "work": work_per_row(model) * batch}
    loss, _ = benchmark(model.gradient, weights, z, y)
    assert torch.isfinite(loss)
