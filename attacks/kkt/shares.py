"""How many copies of each of a few distinct points: shares, and whole numbers."""

from __future__ import annotations

import torch
from torch import Tensor

STEPS = 500


def best_shares(gradient: Tensor, atoms: Tensor) -> Tensor:
    """The shares argmin ‖g + Σ_k a_k A_k‖² over a_k ≥ 0 with sum 1, (k,): non-negative least squares on the simplex.

    By accelerated projected gradient in float64, which starts afresh whenever it would go up.

    Args:
        gradient: g, (p,).
        atoms: A, (k, p).
    """
    A, g = atoms.double(), gradient.double()
    gram, linear = A @ A.T, A @ g
    step = 1 / torch.linalg.matrix_norm(gram, 2).clamp(min=torch.finfo(gram.dtype).tiny)
    a = torch.full_like(linear, 1 / len(linear))
    ahead, momentum = a, 1.0
    for _ in range(STEPS):
        moved = project_simplex(ahead - step * (gram @ ahead + linear))
        if float((gram @ ahead + linear) @ (moved - a)) > 0:
            ahead, momentum = a, 1.0
            moved = project_simplex(a - step * (gram @ a + linear))
        grown = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead, a, momentum = moved + (momentum - 1) / grown * (moved - a), moved, grown
    return a.to(atoms.dtype)


def project_simplex(v: Tensor) -> Tensor:
    """The nearest point with entries ≥ 0 and sum 1.

    Source: Held, Wolfe & Crowder, Mathematical Programming 6, 1974.
    """
    ordered = v.sort(descending=True).values
    excess = (ordered.cumsum(0) - 1) / torch.arange(1, len(v) + 1, dtype=v.dtype, device=v.device)
    last = int((ordered > excess).sum()) - 1
    return (v - excess[last]).clamp(min=0)


def whole(shares: Tensor, n: int) -> Tensor:
    """The numbers of copies that add up to n and are nearest to n · shares, (k,): the largest remainders get one
    more."""
    exact = shares.double() * n
    counts = exact.floor().long()
    more = (exact - counts).argsort(descending=True, stable=True)[: n - int(counts.sum())]
    counts[more] += 1
    return counts


def splits(n: int, number: int) -> Tensor:
    """The ways of dealing n copies to two points, evenly spaced from none to all, at most `number` of them, (s, 2)."""
    first = torch.linspace(0, n, min(number, n + 1), dtype=torch.float64).round().long()
    return torch.stack([first, n - first], 1)
