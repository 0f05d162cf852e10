"""How the lower problem's solution answers the upper variables, by the implicit function theorem."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from poisonbench.bilevel.hvp import Operator, flatten, transposed_product
from poisonbench.bilevel.solution import Solution
from poisonbench.bilevel.solvers import Solve

Mixed = Callable[[Tensor], list[Tensor]]
"""v ↦ ∇²_θw f · v, (p,) ↦ one tensor for each upper variable."""


def implicit_gradient(
    mixed: Mixed, H: Operator, outer: Tensor, solve: Solve, start: Tensor | None = None
) -> tuple[list[Tensor], Solution]:
    """The gradient D_θ ℓ(w*(θ)) = −∇²_θw f · (∇²_ww f)⁻¹ · ∇_w ℓ, where w*(θ) = argmin_w f(θ, w) and ℓ does not depend
    on θ itself.

    Args:
        mixed: ∇²_θw f, of the lower loss or of the part of it that depends on θ: the rest has none.
        H: ∇²_ww of the whole lower loss, as an operator.
        outer: ∇_w ℓ, (p,).
        solve: a linear solver.
        start: where it starts, or None for 0.
    Returns:
        The gradient, one tensor for each of θ, and the solve's evidence.
    Cost: the solve, then one product with `mixed`.
    Source: equation 15 and below of Lu, Kamath & Yu, TMLR 2022; tests/oracle/test_hypergradients.py retrains.
    """
    solution = solve(H, outer, start)
    return mixed(-solution.x), solution


def implicit_response(
    f: Tensor, w: Sequence[Tensor], theta: Sequence[Tensor], H: Operator, direction: Sequence[Tensor], solve: Solve
) -> tuple[Tensor, Solution]:
    """The response D w*(θ) · d = −(∇²_ww f)⁻¹ · ∇²_wθ f · d: how the lower solution moves when θ moves along d.

    Args:
        f: the lower loss, or the part of it that depends on θ; a scalar whose graph reaches both `w` and `theta`.
        w: the lower variables, leaves.
        theta: the upper variables, leaves.
        H: ∇²_ww of the whole lower loss, as an operator.
        direction: d, one tensor for each of `theta`.
        solve: a linear solver.
    Returns:
        The movement, (p,), and the solve's evidence.
    Cost: two backward passes through f, then the solve.
    Source: Wang, Zhang & Ba, "On solving minimax optimization locally: a follow-the-ridge approach", ICLR 2020.
    """
    gradient_theta = torch.autograd.grad(f, theta, create_graph=True)
    solution = solve(H, flatten(transposed_product(gradient_theta, w, direction)))
    return -solution.x, solution
