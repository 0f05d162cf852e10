"""Signed steps on pixels, at weights that stay as they are: rows do not touch each other."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from poisonbench.models.base import Model
from poisonbench.problem.budget import Budget
from poisonbench.problem.samples import Samples, Weights

Transform = Callable[[Tensor], Tensor]
"""Images to the images that the model meets, such as augmented ones; differentiable, row by row."""


def input_gradient(model: Model, w: Weights, x: Tensor, y: Tensor, transform: Transform | None = None) -> Tensor:
    """The gradient ∇_x Σ_i ℓ(w; x_i, y_i) in evaluation mode, of the shape of x: each row's is that of its own loss."""
    x = x.detach().requires_grad_()
    met = x if transform is None else transform(x)
    loss = model.losses(model.forward(w, model.normalise(met)), y).sum()
    return torch.autograd.grad(loss, x)[0]


def descend_rows(
    model: Model,
    w: Weights,
    made: Tensor,
    clean: Samples,
    alpha: float,
    steps: int,
    budget: Budget,
    transform: Transform | None = None,
) -> Tensor:
    """The images after `steps` times x ← Π(x − α sign ∇_x ℓ), from the images `made` of the rows `clean`; with α < 0
    the loss is climbed. Cost: `steps` gradients of the rows."""
    for _ in range(steps):
        slope = input_gradient(model, w, made, clean.y, transform)
        made = budget.project(made - alpha * slope.sign(), clean.x)
    return made
