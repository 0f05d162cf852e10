"""The hypergradient through T steps of training, in O(√T) memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Step = Callable[[list[Tensor], list[Tensor], int], list[Tensor]]
"""(w_t, θ, t) ↦ w_{t+1}, differentiable in both (create_graph inside)."""


def unrolled_gradient(
    step: Step, w0: Sequence[Tensor], theta: Sequence[Tensor], steps: int, outer: Callable[[list[Tensor]], Tensor]
) -> tuple[list[Tensor], float, list[Tensor]]:
    """The gradient ∇_θ ℓ(w_T), with w_{t+1} = step(w_t, θ, t): the exact gradient of the truncated training map.

    The trajectory is kept at every ⌈√T⌉-th step; going back, each segment is run again with its graph. Nothing is
    reversed numerically, so momentum and large steps are as exact as plain small ones.

    Args:
        step: one step of training.
        w0: where training starts; no gradient is taken with respect to it.
        theta: the upper variables.
        steps: T.
        outer: w ↦ ℓ(w), a scalar.
    Returns:
        The gradient, one tensor for each of `theta`; ℓ(w_T); and w_T.
    Cost: two forward passes and one backward pass through every step; memory of √T weights and √T steps' graphs.
    Source: Muñoz-González et al., AISec 2017; the checkpoints are Griewank & Walther's, ACM TOMS 2000.
    """
    segment = max(1, round(steps**0.5))
    starts = list(range(0, steps, segment))
    theta_now = [part.detach().requires_grad_() for part in theta]

    kept: list[list[Tensor]] = []
    w = [part.detach() for part in w0]
    for t in range(steps):
        if t % segment == 0:
            kept.append(w)
        w = [part.detach() for part in step([part.requires_grad_() for part in w], theta_now, t)]

    last = [part.detach().requires_grad_() for part in w]
    value = outer(last)
    adjoint = list(torch.autograd.grad(value, last, allow_unused=True, materialize_grads=True))
    total = [torch.zeros_like(part) for part in theta_now]
    for start, begin in zip(reversed(starts), reversed(kept), strict=True):
        first = [part.detach().requires_grad_() for part in begin]
        w = first
        for t in range(start, min(start + segment, steps)):
            w = step(w, theta_now, t)
        gradients = torch.autograd.grad(w, [*first, *theta_now], adjoint, allow_unused=True, materialize_grads=True)
        adjoint = list(gradients[: len(first)])
        for part, gradient in zip(total, gradients[len(first) :], strict=True):
            part.add_(gradient)
    return total, float(value.detach()), last
