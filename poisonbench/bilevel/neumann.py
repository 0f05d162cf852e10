"""The truncated Neumann series of the inverse."""

from __future__ import annotations

import torch
from torch import Tensor

from poisonbench.bilevel.hvp import Operator
from poisonbench.bilevel.solution import Solution


def neumann(
    H: Operator, b: Tensor, damping: float = 0.0, max_steps: int = 16, rtol: float = 1e-3, rate: float = 0.1
) -> Solution:
    """The truncated series x = η Σ_{k < max_steps} (I − η (H + λI))^k b ≈ (H + λI)⁻¹ b.

    It converges where 0 < η · eigenvalue < 2 for every eigenvalue of H + λI; where it grows instead, the solve stops at
    the first residual above the start's and says so. With η the follower's step size it equals differentiating through
    `max_steps` steps of gradient descent at the fixed point.

    Args:
        H: the operator v ↦ Hv.
        b: right-hand side, (p,).
        damping: λ ≥ 0.
        max_steps: most terms.
        rtol: residual at which it stops and counts as converged.
        rate: η.
    Cost: one product a term.
    Source: Lorraine, Vicol & Duvenaud, AISTATS 2020.
    """
    x = torch.zeros_like(b)
    r = b.clone()
    b_norm = float(torch.linalg.vector_norm(b))
    if b_norm == 0:
        return Solution(x, 0, 0, 0.0, True, "b is zero.")
    definite, residual, step = True, 1.0, 0
    while step < max_steps:
        step += 1
        Ar = H(r).add_(r, alpha=damping)
        definite = definite and float(torch.dot(r, Ar)) > 0
        x.add_(r, alpha=rate)
        r.sub_(Ar, alpha=rate)
        residual = float(torch.linalg.vector_norm(r)) / b_norm
        if residual <= rtol or not residual <= 1.0:
            break
    converged = residual <= rtol and definite
    if converged:
        reason = f"The Neumann series converged in {step} terms."
    elif not definite or not residual <= 1.0:
        reason = "The Neumann series met curvature ≤ 0 or grew. Raise damping or lower rate."
    else:
        reason = f"The Neumann series stopped after {step} terms with residual {residual:.0e}. Raise rate or max_steps."
    return Solution(x, step, step, residual, converged, reason)
