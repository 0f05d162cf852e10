"""The dense solve, for small problems and as the oracle of the other solvers."""

from __future__ import annotations

import torch
from torch import Tensor

from poisonbench.bilevel.hvp import Operator
from poisonbench.bilevel.solution import Solution
from poisonbench.errors import UsageError

LARGEST = 20_000


def exact(H: Operator, b: Tensor, damping: float = 0.0, max_steps: int = 0, rtol: float = 1e-8) -> Solution:
    """Solve (H + λI) x = b with the matrix written out, by Cholesky in float64.

    A matrix that is not positive definite has no Cholesky factor; it is then solved by least squares and comes back as
    not converged.

    Args:
        H: the operator v ↦ Hv; applied to every unit vector.
        b: right-hand side, (p,), p ≤ 20,000 (3.2 GB).
        damping: λ ≥ 0.
        max_steps: not used; every solver takes the same arguments.
        rtol: residual up to which it counts as converged; at least float32's rounding where H is float32.
    Raises:
        UsageError: for a larger p.
    Cost: p products, O(p³) work, O(p²) memory.
    """
    p = len(b)
    if p > LARGEST:
        raise UsageError(f"solver 'exact' writes out a {p}×{p} matrix; use 'cg' above {LARGEST} parameters.")
    unit = torch.zeros_like(b)
    columns = []
    for index in range(p):
        unit[index] = 1.0
        columns.append(H(unit).double())
        unit[index] = 0.0
    A = torch.stack(columns)
    A = (A + A.T) / 2 + damping * torch.eye(p, dtype=A.dtype, device=A.device)
    b64 = b.double()
    factor, failed = torch.linalg.cholesky_ex(A)
    definite = int(failed) == 0
    x = torch.cholesky_solve(b64[:, None], factor)[:, 0] if definite else torch.linalg.lstsq(A, b64).solution
    residual = float(torch.linalg.vector_norm(A @ x - b64) / torch.linalg.vector_norm(b64).clamp(min=1e-300))
    converged = definite and residual <= rtol
    reason = "Solved exactly." if converged else "H + λI is not positive definite, or singular. Raise damping."
    return Solution(x.to(b.dtype), 1, p, residual, converged, reason)
