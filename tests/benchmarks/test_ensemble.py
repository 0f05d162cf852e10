"""The 24 models of MetaPoison's ensemble: one `vmap` over all of them against one model after another."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from poisonbench.attacks.metapoison import ensemble
from poisonbench.attacks.metapoison.ensemble import ensemble_gradient, gradient, stacked, together
from poisonbench.models.base import Model
from poisonbench.plugins.registry import load
from poisonbench.problem.samples import Samples

Work = Callable[[], list[Tensor]]


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
    monkeypatch: pytest.MonkeyPatch,
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
    works: dict[str, Work] = {
        "train": lambda: gradient(model, stack, rows.x, rows.y)[1],
        "craft": lambda: [ensemble_gradient(model, stack, poison, [rows, rows], rows, 0.1, 0.03)[0]],
    }
    found = benchmark.pedantic(works[what], rounds=3 if timed else 1, warmup_rounds=1 if timed else 0)
    if len(together(model, stack, rows.x)) > 1:
        return
    monkeypatch.setattr(ensemble, "LARGEST_AT_ONCE", 0)
    began = time.perf_counter()
    expected = works[what]()
    if timed:
        benchmark.extra_info["one_by_one_s"] = seconds = time.perf_counter() - began
        benchmark.extra_info["one_by_one_to_ours"] = round(seconds / benchmark.stats.stats.min, 2)
    # float32, sums in another order.
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
