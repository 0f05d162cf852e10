"""Signed steps on pixels, at weights that stay as they are: rows do not touch each other."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from poisonbench.models.base import Model
from poisonbench.problem.budget import Budget
from poisonbench.problem.samples import Weights

Transform = Callable[[Tensor], Tensor]
"""Images to the images that the model meets, such as augmented ones; differentiable."""

Slope = Callable[[Tensor], Tensor]
"""Images to the gradient of a loss in their pixels, of the same shape."""


def input_gradient(model: Model, w: Weights, x: Tensor, y: Tensor) -> Tensor:
    """The gradient ∇_x Σ_i ℓ(w; x_i, y_i) in evaluation mode, of the shape of x: each row's is that of its own loss."""
    x = x.detach().requires_grad_()
    loss = model.losses(model.forward(w, model.normalise(x)), y).sum()
    return torch.autograd.grad(loss, x)[0]


def through(transform: Transform, slope: Slope) -> Slope:
    """The gradient in the images x of a loss of t(x), whose gradient there is `slope`."""

    def at(x: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        met = transform(x)
        # The product's sum, not `grad_outputs`: at its first use PyTorch imports half a second of symbolic algebra.
        return torch.autograd.grad((met * slope(met.detach())).sum(), x)[0]

    return at


def descend_rows(slope: Slope, made: Tensor, source: Tensor, alpha: float, steps: int, budget: Budget) -> Tensor:
    """The images after `steps` times x ← Π(x − α sign ∇_x), from the images `made`, within the bound of the images
    `source`; with α < 0 the loss is climbed. Cost: `steps` slopes."""
    for _ in range(steps):
        made = budget.project(made - alpha * slope(made).sign(), source)
    return made
