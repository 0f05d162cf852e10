"""Conjugate gradients on the normal equations: minimise ½‖(H + λI) x − b‖²."""

from __future__ import annotations

import torch
from torch import Tensor

from poisonbench.bilevel.hvp import Operator
from poisonbench.bilevel.solution import Solution


def cgnr(H: Operator, b: Tensor, damping: float = 0.0, max_steps: int = 16, rtol: float = 0.0) -> Solution:
    """Least-squares solve of (H + λI) x = b by conjugate gradients on the normal equations, from x = 0.

    What the released TGDA code runs, with 16 steps, λ = 0 and a tolerance so small that it never stops early;
    `rtol = 0` is that setting, save that an exact zero of the residual ends the solve here. Past convergence, rounding
    makes the iterates diverge, which the residual shows. The condition number is squared: plain CG does more with fewer
    products where H + λI is positive definite.

    Args:
        H: the operator v ↦ Hv, symmetric.
        b: right-hand side, (p,).
        damping: λ ≥ 0.
        max_steps: most iterations.
        rtol: residual at which it stops and counts as converged, unless A is indefinite on the directions it took.
    Cost: two products a step, and one to begin; with rtol > 0, memory of two vectors a step.
    Source: Hestenes & Stiefel 1952, section 10; Lu, Kamath & Yu, TMLR 2022, follows Zhang et al. 2021.
    """
    x = torch.zeros_like(b)
    r = b.clone()
    b_norm = float(torch.linalg.vector_norm(b))
    if b_norm == 0:
        return Solution(x, 0, 0, 0.0, True, "b is zero.")
    z = H(r).add_(r, alpha=damping)
    p = z.clone()
    zz = torch.dot(z, z)
    directions: list[Tensor] = []
    images: list[Tensor] = []
    residual, step = 1.0, 0
    while step < max_steps:
        step += 1
        Ap = H(p).add_(p, alpha=damping)
        ApAp = float(torch.dot(Ap, Ap))
        if rtol > 0:  # what can converge keeps what certifies it
            directions.append(p.clone())
            images.append(Ap)
        if ApAp == 0:
            break
        length = zz / ApAp
        x.add_(p * length)
        r.sub_(Ap * length)
        residual = float(torch.linalg.vector_norm(r)) / b_norm
        if residual <= rtol:
            break
        z = H(r).add_(r, alpha=damping)
        zz_new = torch.dot(z, z)
        p.mul_(zz_new / zz).add_(z)
        zz = zz_new
    solved = residual <= rtol
    converged = solved and (rtol == 0 or _definite_on(directions, images))
    if converged:
        reason = f"CGNR converged in {step} steps."
    elif solved:
        reason = (
            "CGNR solved a system that is not positive definite, so its solution is no hypergradient. Raise damping."
        )
    else:
        reason = (
            f"CGNR stopped after {step} steps with residual {residual:.0e} > {rtol:.0e}. Raise damping or max_steps."
        )
    return Solution(x, step, 2 * step + 1, residual, converged, reason)


def _definite_on(directions: list[Tensor], images: list[Tensor]) -> bool:
    """Whether A is positive definite on the span of the directions, given A of each.

    At convergence the span holds every eigenvector that b has a part in, save that eigenvalues of equal size and
    opposite sign share one direction.
    """
    P, AP = torch.stack(directions), torch.stack(images)
    scale = torch.linalg.vector_norm(P, dim=1)
    projected = (P @ AP.T) / scale / scale[:, None]
    return bool(torch.linalg.eigvalsh((projected + projected.T).double() / 2)[0] > 0)
