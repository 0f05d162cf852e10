"""Gradient and Hessian-vector product of the CNN, against the same network in torch's own operators."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from poisonbench.bilevel.hvp import Hessian, flatten
from poisonbench.models.cnn import CNN
from poisonbench.problem.samples import Weights

Work = Callable[[], Tensor]


def plain(weights: Weights, z: Tensor) -> Tensor:
    """The paper's CNN as one writes it: convolution, bias, ReLU, pooling."""
    for layer in ("conv1", "conv2"):
        z = F.conv2d(z, weights[f"{layer}.weight"], weights[f"{layer}.bias"], padding=2)
        z = F.max_pool2d(torch.relu(z), 2)
    return F.linear(z.flatten(1), weights["output.weight"], weights["output.bias"])


@pytest.fixture
def works(size: Any, generator: torch.Generator) -> dict[str, tuple[Work, Work]]:
    """What to compute → ours and torch's."""
    model = CNN(size.shape, 10, (0.5,), (0.5,))
    weights = {name: value.requires_grad_() for name, value in model.init(generator).items()}
    leaves = list(weights.values())
    x = torch.rand(size.batch + size.poison, *size.shape, generator=generator)
    y = torch.randint(10, (len(x),), generator=generator)
    v = torch.randn(sum(leaf.numel() for leaf in leaves), generator=generator)
    z_ours = model.normalise(x)
    z_theirs = z_ours.contiguous()

    def our_loss() -> Tensor:
        return F.cross_entropy(model.forward(weights, z_ours, training=True), y)

    def their_loss() -> Tensor:
        return F.cross_entropy(plain(weights, z_theirs), y)

    def gradient(loss: Work) -> Work:
        return lambda: flatten(torch.autograd.grad(loss(), leaves))

    def product(loss: Work) -> Work:
        H = Hessian(loss(), leaves)
        return lambda: H(v)

    return {
        "gradient": (gradient(our_loss), gradient(their_loss)),
        "hvp": (product(our_loss), product(their_loss)),
    }


@pytest.mark.parametrize("what", ["gradient", "hvp"])
def test_cnn(benchmark: Any, what: str, works: dict[str, tuple[Work, Work]], timed: bool) -> None:
    ours, theirs = works[what]
    found = benchmark(ours)
    # float32, sums of a batch in another order.
    torch.testing.assert_close(found, theirs(), rtol=1e-3, atol=1e-4)
    if timed:
        benchmark.extra_info["torch_s"] = seconds = best_of(theirs, 10)
        benchmark.extra_info["torch_to_ours"] = round(seconds / benchmark.stats.stats.min, 2)


def best_of(work: Work, repeats: int) -> float:
    """The least of some timings, as the benchmark's `min` is."""
    timings = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        timings.append(time.perf_counter() - began)
    return min(timings)
