"""Conjugate gradients on (H + λI) x = b."""

from __future__ import annotations

import torch
from torch import Tensor

from poisonbench.bilevel.hvp import Operator
from poisonbench.bilevel.solution import Solution


def cg(H: Operator, b: Tensor, damping: float = 0.0, max_steps: int = 16, rtol: float = 1e-3) -> Solution:
    """Solve (H + λI) x = b by conjugate gradients from x = 0.

    The method needs H + λI positive definite. Where it meets a direction whose curvature pᵀHp / ‖p‖² is not above the
    rounding of the largest that it has seen, it stops, returns the iterate so far (for the first step: the direction b,
    as Steihaug's method does, but without his trust radius: the caller bounds its own step) and says so: not converged.

    Args:
        H: the operator v ↦ Hv.
        b: right-hand side, (p,).
        damping: λ ≥ 0.
        max_steps: most iterations; the solve also ends where the recurrence's residual falls to rtol · ‖b‖.
        rtol: residual at which it counts as converged.
    Returns:
        Solution; its residual is the recurrence's, which for these few steps differs from the true one by rounding.
    Cost: one product a step.
    Source: Hestenes & Stiefel 1952; Steihaug, SIAM J. Numer. Anal. 1983 for the stop on negative curvature.
    """
    x = torch.zeros_like(b)
    r = b.clone()
    p = b.clone()
    rr = torch.dot(r, r)
    b_norm, largest, rounding = float(rr.sqrt()), 0.0, torch.finfo(b.dtype).eps
    if b_norm == 0:
        return Solution(x, 0, 0, 0.0, True, "b is zero.")
    for step in range(1, max_steps + 1):
        Hp = H(p).add_(p, alpha=damping)
        curvature = torch.dot(p, Hp)
        along = float(curvature / torch.dot(p, p))
        largest = max(largest, abs(along))
        if not along > rounding * largest:
            reason = f"CG met curvature ≤ 0 at step {step}: H + λI is not positive definite. Raise damping."
            if step == 1:
                x, rr = b.clone(), (b - Hp).square().sum()
            return Solution(x, step - 1, step, float(rr.sqrt()) / b_norm, False, reason)
        length = rr / curvature
        x.add_(p * length)
        r.sub_(Hp * length)
        rr_new = torch.dot(r, r)
        residual = float(rr_new.sqrt()) / b_norm
        if residual <= rtol:
            return Solution(x, step, step, residual, True, f"CG converged in {step} steps.")
        p.mul_(rr_new / rr).add_(r)
        rr = rr_new
    return Solution(
        x,
        max_steps,
        max_steps,
        residual,
        False,
        f"CG stopped after {max_steps} steps with residual {residual:.0e} > {rtol:.0e}. Raise damping or max_steps.",
    )
