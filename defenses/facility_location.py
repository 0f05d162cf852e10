"""Greedy facility location: medoids that are near to all points."""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK = 1 << 19
"""Distances at a time: 2 MiB, which caches hold."""

KEPT = 1 << 26
"""Distances that are kept: 256 MiB, those of 8,192 points."""


def medoids(points: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Choose k points S that raise F(S) = Σ_i max_{j ∈ S} (c − ‖x_i − x_j‖) most, one after the other.

    c is the diagonal of the bounding box, which no distance exceeds. All gains are known at any time: a new medoid
    changes those terms alone of which it is the nearest, and a term is changed some ln k times. Of gains that are equal
    to rounding, as those of two lonely neighbours are, the earlier point wins. Distances are rounded to float32, and
    added up in float64. It ends early when no gain is left, as when fewer than k points differ.

    Args:
        points: (n, d).
        k: how many.
    Returns:
        The medoids in the order of choice, (at most k,), and the place in it of each point's nearest medoid, of equally
        near ones the earlier, (n,).
    Cost: about 2 n² ln k numbers gone through; memory of the n² distances up to KEPT, else they are computed d ln k n²
        times anew.
    Source: Nemhauser, Wolsey & Fisher, 1978; F is within 1 − 1/e of the best.
    """
    x = points.float()
    n = len(x)
    kept = _distances(x, x) if n * n <= KEPT else None

    def distances(rows: Tensor) -> Tensor:
        return _distances(x[rows], x) if kept is None else kept[rows]

    nearest = torch.linalg.vector_norm(x.amax(0) - x.amin(0)).expand(n).clone()
    owner = torch.zeros(n, dtype=torch.int64, device=x.device)
    gains = torch.zeros(n, dtype=torch.float64, device=x.device)
    everything, rows = torch.arange(n, device=x.device), max(1, CHUNK // n)
    for part in everything.split(rows):
        gains += nearest[part].sum(dtype=torch.float64) - distances(part).sum(0, dtype=torch.float64)
    nothing = 1e-12 * float(gains.max())
    chosen: list[int] = []
    while len(chosen) < k:
        most = float(gains.max())
        if chosen and most <= nothing:
            break
        best = int(torch.nonzero(gains >= most - nothing)[0])
        distance = distances(everything[best : best + 1])[0]
        moved = torch.nonzero(distance < nearest).flatten() if chosen else everything
        owner[moved] = len(chosen)
        chosen.append(best)
        for part in moved.split(rows):
            near = distances(part).clamp_(distance[part, None], nearest[part, None])
            gains -= nearest[part].sum(dtype=torch.float64) - near.sum(0, dtype=torch.float64)
        nearest[moved] = distance[moved]
    return torch.tensor(chosen, dtype=torch.int64, device=x.device), owner


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """Distances from differences: those of equal points are 0."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
