"""Twenty steps of a follower: one call that owns its buffers, and a gradient at a time."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from poisonbench.models.base import Model
from poisonbench.plugins.registry import load

STEPS = 20


@pytest.mark.parametrize("way", ["a gradient at a time", "in one call"])
@pytest.mark.parametrize(("side", "batch"), [(8, 100), (28, 1000)], ids=["digits", "mnist"])
def test_descend(benchmark: Any, way: str, side: int, batch: int, timed: bool, generator: torch.Generator) -> None:
    batch = batch if timed else 4
    model = load("model", "lr")((1, side, side), 10, (0.5,), (0.5,))
    weights = {name: value.requires_grad_() for name, value in model.init(generator).items()}
    z, y = model.normalise(torch.rand(batch, 1, side, side)), torch.arange(batch) % 10
    descend = model.descend if way == "in one call" else lambda *arguments: Model.descend(model, *arguments)
    benchmark(descend, weights, z, y, 0.1, STEPS)
    assert all(bool(torch.isfinite(value).all()) for value in weights.values())
