"""The hypergradient through T steps of gradient descent, by its adjoint recursion: products instead of graphs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import Tensor

from poisonbench.bilevel.hvp import flatten

Gradient = Callable[[list[Tensor], int], list[Tensor]]
"""(w_t, t) ↦ ∇_w f_t, one tensor for each of w."""

Products = Callable[[list[Tensor], Tensor, int], tuple[Tensor, list[Tensor]]]
"""(w_t, v, t) ↦ ∇²_ww f_t · v, (p,), and ∇²_θw f_t · v, one tensor for each of θ."""

WHOLE = 1 << 29
"""Bytes up to which the whole trajectory is kept; a longer one is kept at every ⌈√T⌉-th step and walked twice."""


def adjoint_gradient(
    gradient: Gradient,
    products: Products,
    w0: Sequence[Tensor],
    rate: float,
    steps: int,
    outer: Callable[[list[Tensor]], tuple[Tensor, list[Tensor]]],
) -> tuple[list[Tensor], float, list[Tensor]]:
    """The gradient ∇_θ ℓ(w_T), with w_{t+1} = w_t − η ∇_w f_t(θ, w_t): the exact gradient of the truncated training
    map.

    With λ_T = ∇ℓ(w_T), going back from t = T − 1:

        ∇_θ ℓ  ←  ∇_θ ℓ − η ∇²_θw f_t · λ_{t+1},    λ_t = λ_{t+1} − η ∇²_ww f_t · λ_{t+1}.

    The same number as `unrolled_gradient`, which takes any step. This takes plain descent alone, and in return needs
    nothing but products at w_t, which a model may have in closed form. The weights w_t are kept or computed again,
    never reversed numerically.

    Args:
        gradient: of the lower loss of step t.
        products: of its Hessian and its mixed derivative with a vector, at the same weights and the same t.
        w0: where training starts; leaves for `gradient` and `products` to differentiate at are made from it.
        rate: η.
        steps: T ≥ 1.
        outer: w ↦ ℓ(w) and its gradient.
    Returns:
        The gradient, one tensor for each of θ; ℓ(w_T); and w_T.
    Cost: T gradients (2 T where the trajectory does not fit `WHOLE`) and T products; memory of `WHOLE` or 2 √T weights.
    Source: algorithm 2 of Muñoz-González et al., AISec 2017, without its reversed steps.
    """

    def walk(w: list[Tensor], start: int, stop: int, every: int) -> tuple[list[list[Tensor]], list[Tensor]]:
        """The weights before every `every`-th step from start to stop, and those at the end."""
        kept = []
        for t in range(start, stop):
            if (t - start) % every == 0:
                kept.append(w)
            slope = gradient(w, t)
            w = [(part.detach() - rate * down).requires_grad_() for part, down in zip(w, slope, strict=True)]
        return kept, w

    size = steps * sum(part.numel() * part.element_size() for part in w0)
    segment = 1 if size <= WHOLE else math.ceil(steps**0.5)
    starts = range(0, steps, segment)
    kept, last = walk([part.detach().requires_grad_() for part in w0], 0, steps, segment)

    value, slope = outer(last)
    adjoint = flatten(slope)
    total: list[Tensor] = []
    for start in reversed(starts):
        begin = kept.pop()
        within = [begin] if segment == 1 else walk(begin, start, min(start + segment, steps), 1)[0]
        for t in reversed(range(start, start + len(within))):
            curved, mixed = products(within.pop(), adjoint, t)
            adjoint = adjoint - rate * curved
            total = mixed if not total else [part + more for part, more in zip(total, mixed, strict=True)]
    return [-rate * part for part in total], float(value), last
