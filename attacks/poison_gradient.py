"""The training gradient that poison points make at fixed weights, and how it depends on their pixels."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from poisonbench.bilevel.hvp import flatten
from poisonbench.models.base import Model
from poisonbench.problem.samples import Weights

CHUNK = 1024


def chunks(x: Tensor) -> Iterator[slice]:
    """The slices of at most CHUNK rows, in order: what bounds the memory of a graph."""
    return (slice(begin, begin + CHUNK) for begin in range(0, len(x), CHUNK))


def mean_gradient(model: Model, w: Weights, x: Tensor, y: Tensor) -> Tensor:
    """The gradient ∇_w of the mean loss of images x, (p,).

    Args:
        model: in evaluation mode: running statistics stand still.
        w: its weights, parameters as leaves.
        x: images, (n, channels, height, width).
        y: labels, (n,).
    Cost: one gradient.
    """
    parameters = list(model.parameters(w).values())
    total = torch.zeros(sum(part.numel() for part in parameters), dtype=x.dtype, device=x.device)
    for rows in chunks(x):
        loss = model.losses(model.forward(w, model.normalise(x[rows])), y[rows]).sum() / len(x)
        total += flatten(torch.autograd.grad(loss, parameters))
    return total


def pull_back(model: Model, w: Weights, u: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The gradient ∇_x ⟨u, ∇_w L(x, y; w)⟩, of the shape of x, for a fixed u, (p,), and L the mean loss: the gradient
    in x of any function of `mean_gradient` whose gradient there is u.

    Cost: two gradients, the second through the graph of the first.
    """
    parameters = list(model.parameters(w).values())
    slope = torch.empty_like(x)
    for rows in chunks(x):
        part = x[rows].detach().requires_grad_()
        loss = model.losses(model.forward(w, model.normalise(part)), y[rows]).sum() / len(x)
        product = torch.dot(u, flatten(torch.autograd.grad(loss, parameters, create_graph=True)))
        (slope[rows],) = torch.autograd.grad(product, part)
    return slope
