"""Steps of sign gradient descent on the pixels: for each row by itself, or one noise for all rows of a class.

The weights are held fixed, in evaluation mode; the gradient is taken at the clipped image.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from poisonbench.bilevel.projections import project_linf
from poisonbench.models.base import Model
from poisonbench.problem.budget import Budget
from poisonbench.problem.samples import Samples, Weights


def input_gradient(model: Model, w: Weights, x: Tensor, y: Tensor) -> Tensor:
    """∇_x Σ_i ℓ(w; x_i, y_i): row by row, the gradient of that row's loss."""
    x = x.detach().requires_grad_()
    loss = model.losses(model.forward(w, model.normalise(x)), y).sum()
    return torch.autograd.grad(loss, x)[0]


def descend_rows(
    model: Model, w: Weights, made: Tensor, clean: Samples, alpha: float, steps: int, budget: Budget
) -> Tensor:
    """`steps` times x ← Π(x − α sign ∇_x ℓ), from the images `made` of the rows `clean`."""
    for _ in range(steps):
        made = budget.project(made - alpha * input_gradient(model, w, made, clean.y).sign(), clean.x)
    return made


def descend_classes(
    model: Model, w: Weights, noise: Tensor, parts: Iterable[Samples], alpha: float, radius: float, budget: Budget
) -> Tensor:
    """One step δ_c ← Π(δ_c − α sign of the mean of ∇_x ℓ over the class's rows), for every class c.

    Args:
        model: the model.
        w: its weights.
        noise: δ, (C, channels, height, width).
        parts: all rows, as many at a time as fit.
        alpha: size of the step.
        radius: of the L∞ ball that δ is projected on.
        budget: clips the images x_i + δ_{y_i}.
    """
    total = torch.zeros_like(noise).flatten(1)
    for part in parts:
        slope = input_gradient(model, w, budget.project(part.x + noise[part.y], part.x), part.y)
        # A product with the one-hot labels: index_add_ would add in no fixed order on a GPU.
        total += F.one_hot(part.y, len(noise)).to(slope.dtype).T @ slope.flatten(1)
    step = alpha * total.sign().view_as(noise)
    return project_linf(noise - step, torch.zeros_like(noise), radius)
