"""The hypergradient by the implicit function theorem."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from poisonbench.bilevel.hvp import Operator, transposed_product, unflatten
from poisonbench.bilevel.solution import Solution
from poisonbench.bilevel.solvers import Solve


def implicit_gradient(
    f: Tensor, w: Sequence[Tensor], theta: Sequence[Tensor], H: Operator, outer: Tensor, solve: Solve
) -> tuple[list[Tensor], Solution]:
    """D_θ ℓ(w*(θ)) = −∇²_θw f · (∇²_ww f)⁻¹ · ∇_w ℓ, where w*(θ) = argmin_w f(θ, w) and ℓ does not depend on θ itself.

    Args:
        f: the lower loss, or the part of it that depends on θ (the rest has no mixed derivative); a scalar whose graph
            reaches both `w` and `theta`.
        w: the lower variables, leaves.
        theta: the upper variables, leaves.
        H: ∇²_ww of the whole lower loss, as an operator.
        outer: ∇_w ℓ, (p,).
        solve: a linear solver.
    Returns:
        The gradient, one tensor for each of `theta`, and the solve's evidence.
    Cost: the solve, then two backward passes through f.
    Source: equation 15 and below of Lu, Kamath & Yu, TMLR 2022; tests/oracle/test_hypergradients.py retrains.
    """
    solution = solve(H, outer)
    v = unflatten(-solution.x, w)
    gradient_w = torch.autograd.grad(f, w, create_graph=True)
    return transposed_product(gradient_w, theta, v), solution
