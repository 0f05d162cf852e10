"""What every linear solve returns: the value and the evidence for it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Solution:
    """An answer to (H + λI) x = b.

    Attributes:
        x: the value, (p,).
        steps: iterations done.
        products: Hessian-vector products spent.
        residual: ‖(H + λI) x − b‖ / ‖b‖ of the x returned, carried along by the iteration at no further product.
        converged: residual ≤ rtol, and no direction of curvature ≤ 0 was met. An indefinite H + λI is no minimum of the
            lower problem, so even an exact solve with it is no hypergradient and comes back as not converged.
        reason: one sentence that says how it ended and, if it did not converge, what to try.
    """

    x: Tensor
    steps: int
    products: int
    residual: float
    converged: bool
    reason: str
