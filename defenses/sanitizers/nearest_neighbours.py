"""Exact nearest neighbours among the rows of one matrix."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def nearest_neighbours(x: Tensor, k: int, tick: Callable[[], None], chunk: int = 512) -> tuple[Tensor, Tensor]:
    """The distances from each row to its k nearest others, (n, k), ascending, and those rows' numbers, (n, k).

    A row is no neighbour of itself, but its duplicates are, at distance 0. Neighbours are found by
    ‖a − b‖² = ‖a‖² + ‖b‖² − 2⟨a, b⟩, one matrix product a chunk, of points centred so that little cancels; their
    distances are then computed from differences. So a distance is exact to rounding, and only neighbours whose squared
    distances differ by less than some 1e-6 of the points' squared norms (in float32) can be taken for each other.

    Args:
        x: points, (n, d).
        k: how many, at most n − 1.
        tick: called once a chunk.
        chunk: rows a chunk.
    Cost: 2 n² d floating-point operations, memory n · chunk numbers and one copy of x.
    """
    x = x - x.mean(0)
    squares = torch.linalg.vector_norm(x, dim=1).square()
    distances = x.new_empty((len(x), k))
    numbers = torch.empty((len(x), k), dtype=torch.int64, device=x.device)
    for start in range(0, len(x), chunk):
        part = x[start : start + chunk]
        apart = torch.addmm(squares, part, x.T, alpha=-2)  # but for ‖a‖², the same along a row
        apart.diagonal(start).fill_(float("inf"))
        near = apart.topk(k, largest=False).indices
        exact, order = torch.linalg.vector_norm(x[near] - part[:, None], dim=2).sort(dim=1, stable=True)
        distances[start : start + chunk] = exact
        numbers[start : start + chunk] = near.gather(1, order)
        tick()
    return distances, numbers
