"""As many CPU threads as a problem fills: a small one takes longer on two than on one, and far longer beside others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

SMALL = 100_000_000
"""Multiply-adds of a step's forward pass below which one thread is faster: about 3 ms of one core. Digits and the
linear models of MNIST are small, MNIST's networks and all of CIFAR-10's are not (tests/benchmarks/test_threads.py)."""


def is_small(work: int) -> bool:
    """Whether one thread is enough for steps of so many multiply-adds."""
    return work < SMALL


@contextmanager
def fitting_threads(work: int) -> Iterator[None]:
    """One thread for a small problem, all that were allowed for a large one; afterwards as many as before.

    Args:
        work: multiply-adds of a step's forward pass.
    """
    allowed = torch.get_num_threads()
    if is_small(work):
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(allowed)
