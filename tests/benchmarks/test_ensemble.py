"""The 24 models of MetaPoison's ensemble: all of them at once against one model after another."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from torch import Tensor

from poisonbench.attacks.metapoison.ensemble import ensemble_gradient, gradient, stacked, together
from poisonbench.models.base import Model
from poisonbench.plugins.registry import load
from poisonbench.problem.samples import Samples, Weights


@pytest.mark.parametrize("what", ["train", "craft"])
@pytest.mark.parametrize("shapes", ["digits", "mnist"])
@pytest.mark.parametrize("name", ["lr", "nn", "cnn"])
def test_ensemble(
    benchmark: Any,
    name: str,
    shapes: str,
    what: str,
    size: Any,
    generator: torch.Generator,
    timed: bool,
) -> None:
    """`train` is one training step of every model, `craft` the gradient of one craft step (K = 2, ε = 0.03). The figure
    is that of the rule in `together`; `one_by_one_s` is that of the loop, where the rule takes all at once."""
    shape, batch, n_poison = (size.shape, size.batch, size.poison) if shapes == "mnist" else ((1, 8, 8), 100, 27)
    cls: type[Model] = load("model", name)
    model = cls(shape, 10, (0.5,), (0.5,))
    stack = stacked([model.init(generator) for _ in range(24 if timed else 3)])
    stack = {name: value.requires_grad_() for name, value in stack.items()}
    y = torch.arange(batch) % 10
    rows = Samples(model.normalise(torch.rand(batch, *shape, generator=generator)), y, y)
    poison = Samples(torch.rand(n_poison, *shape, generator=generator), y[:n_poison], y[:n_poison])

    def work(stack: Weights) -> list[Tensor]:
        if what == "train":
            return gradient(model, stack, rows.x, rows.y)[1]
        return [ensemble_gradient(model, stack, poison, [rows, rows], rows, 0.1, 0.03)[0][None]]

    found = benchmark.pedantic(work, (stack,), rounds=3 if timed else 1, warmup_rounds=1 if timed else 0)
    if len(together(model, stack, rows.x)) > 1:
        return
    began = time.perf_counter()
    singles = [work({name: value[m : m + 1] for name, value in stack.items()}) for m in range(size_of(stack))]
    if timed:
        benchmark.extra_info["one_by_one_s"] = seconds = time.perf_counter() - began
        benchmark.extra_info["one_by_one_to_ours"] = round(seconds / benchmark.stats.stats.min, 2)
    expected = [torch.cat(values) for values in zip(*singles, strict=True)]
    if what == "craft":
        expected = [value.mean(0, keepdim=True) for value in expected]
    # float32, sums in another order.
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def size_of(stack: Weights) -> int:
    """How many models there are."""
    return len(next(iter(stack.values())))
