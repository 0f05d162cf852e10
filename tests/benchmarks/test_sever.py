"""Sever's products with the per-sample gradients, how many it takes, and what scoring all of MNIST takes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import LinearOperator, svds
from torch import Tensor

from poisonbench.bilevel.hvp import flatten
from poisonbench.defenses.gradients.autodiff import AutodiffGradients
from poisonbench.defenses.gradients.layers import LayerGradients
from poisonbench.defenses.gradients.operator import GradientOperator, Gradients
from poisonbench.defenses.sever.spectral import leading_component
from poisonbench.models.base import Model
from poisonbench.plugins.registry import load
from poisonbench.problem.samples import Samples, Weights

SCORE = """
import json, sys, time
from poisonbench.process.openmp import yield_when_crowded
yield_when_crowded()
import torch
from poisonbench.process.allocator import keep_freed_blocks
from poisonbench.defenses.sever.defense import Sever
from poisonbench.process.environment import PeakMemory
from poisonbench.seeding import child_generator
from poisonbench.stages.stage import Stage
from poisonbench.testing import Game
from poisonbench.problem.recipe import Recipe
from poisonbench.training import train
from poisonbench.problem.views import DefenderView

keep_freed_blocks()
model, shape, n = json.loads(sys.argv[1])
game = Game(model=model, shape=tuple(shape), classes=10, n_train=n)
samples, target = game.samples("train", n), game.target()
weights = train(target, samples, Recipe(batch_size=1000, epochs=1), Stage(child_generator(0, "train")), "train")
view = DefenderView(samples, samples.rows(slice(0, 1)), target, game.recipe, 10)
memory = PeakMemory(torch.device("cpu"))
began = time.perf_counter()
scored = Sever(per_class=False).score(view, weights, Stage(child_generator(0, "defense")))
print(json.dumps({"score_s": time.perf_counter() - began, **memory.read(), **scored.stats}))
"""
Problem = tuple[Model, Weights, Samples]


@pytest.fixture(params=["nn", "cnn"])
def problem(request: pytest.FixtureRequest, size: Any, generator: torch.Generator) -> Problem:
    """A model and a batch of random images."""
    model: Model = load("model", request.param)(size.shape, 10, (0.5,), (0.5,))
    x, y = (
        torch.rand(size.batch, *size.shape, generator=generator),
        torch.randint(10, (size.batch,), generator=generator),
    )
    return model, model.init(generator), Samples(x, y, torch.arange(size.batch))


def test_product(benchmark: Any, problem: Problem, generator: torch.Generator, timed: bool) -> None:
    """GᵀGv from layers; beside it by forward and reverse mode, and what the layers' gradients take to compute."""
    model, weights, rows = problem
    v = {name: torch.randn(1, *value.shape, generator=generator) for name, value in model.parameters(weights).items()}

    def product(gradients: Gradients) -> Tensor:
        return flatten(list(gradients.transposed_times(gradients.times(v)).values()))

    layers = LayerGradients.of(model, weights, rows.x, rows.y)
    autodiff = AutodiffGradients(model, weights, rows.x, rows.y)
    found = benchmark(lambda: product(layers))
    by_name = layers.transposed_times(layers.times(v))
    # float32, sums of a batch in another order.
    torch.testing.assert_close(
        flatten([by_name[name] for name in v]), product(autodiff), rtol=1e-3, atol=1e-4 * float(found.abs().max())
    )
    if timed:
        ours = benchmark.stats.stats.min
        benchmark.extra_info["autodiff_to_ours"] = round(best_of(lambda: product(autodiff)) / ours, 1)
        computing = best_of(lambda: LayerGradients.of(model, weights, rows.x, rows.y))
        benchmark.extra_info["computing_to_ours"] = round(computing / ours, 1)


def test_products_needed(benchmark: Any, problem: Problem, timed: bool) -> None:
    """The figure is `products`; ARPACK's, through SciPy and at the same tolerance, is beside it."""
    model, weights, rows = problem
    G = GradientOperator(model, weights, rows)
    ours = benchmark.pedantic(
        lambda: leading_component(G, torch.Generator().manual_seed(0), 1e-4, lambda _: None), rounds=3 if timed else 1
    )
    theirs = 0

    def times(v: np.ndarray) -> np.ndarray:
        nonlocal theirs
        theirs += 1
        return G.times(torch.from_numpy(v.reshape(-1).astype(np.float32))).numpy()

    def transposed_times(u: np.ndarray) -> np.ndarray:
        return G.transposed_times(torch.from_numpy(u.reshape(-1).astype(np.float32))).numpy()

    operator = LinearOperator(G.shape, matvec=times, rmatvec=transposed_times, dtype=np.float32)
    start = torch.randn(min(G.shape), generator=torch.Generator().manual_seed(0)).numpy()
    value = svds(operator, k=1, tol=1e-4, v0=start, return_singular_vectors=False)[0]
    assert ours.value == pytest.approx(float(value), rel=1e-4)
    assert ours.products <= theirs
    benchmark.extra_info |= {"products": ours.products, "arpack_products": theirs}


@pytest.mark.parametrize("name", ["lr", "nn", "cnn"])
def test_score(benchmark: Any, name: str, size: Any, timed: bool) -> None:
    """All of a training set of MNIST's size, in a process of its own. The figures are `score_s` and `rss_peak_mb`."""
    arguments = json.dumps([name, size.shape, 43_260 if timed else 100])

    def run() -> dict[str, float]:
        done = subprocess.run([sys.executable, "-P", "-c", SCORE, arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found: dict[str, float] = json.loads(done.stdout)
        return found

    figures = benchmark.pedantic(run, rounds=1)
    benchmark.extra_info |= figures
    if timed:
        assert figures["rss_peak_mb"] < (3 << 10 if name == "cnn" else 2 << 10)


def best_of(work: Callable[[], object], repeats: int = 5) -> float:
    """The least of some timings, as the benchmark's `min` is."""
    timings = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        timings.append(time.perf_counter() - began)
    return min(timings)
