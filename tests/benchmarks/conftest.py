"""Timings: `pytest tests/benchmarks --benchmark-enable`. Without that flag each runs once, on small shapes."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from poisonbench.process.allocator import keep_freed_blocks


@dataclass(frozen=True)
class Size:
    """What a benchmark computes on."""

    batch: int
    poison: int
    shape: tuple[int, int, int]


@pytest.fixture(scope="session")
def timed(request: pytest.FixtureRequest) -> bool:
    """Whether timings were asked for."""
    return bool(request.config.getoption("benchmark_enable")) or bool(request.config.getoption("benchmark_only"))


@pytest.fixture(scope="session")
def size(timed: bool) -> Size:
    """The paper's batch on MNIST's shapes, with the memory kept as `poisonbench run` keeps it; or a small one."""
    if not timed:
        return Size(20, 2, (1, 8, 8))
    keep_freed_blocks()
    return Size(1000, 30, (1, 28, 28))


@pytest.fixture
def generator() -> torch.Generator:
    """The same numbers every time."""
    return torch.Generator().manual_seed(0)
