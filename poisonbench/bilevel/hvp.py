"""Hessian-vector products on a graph that is built once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Operator = Callable[[Tensor], Tensor]
"""A symmetric linear map on flat vectors, (p,) ↦ (p,)."""


def flatten(parts: Sequence[Tensor]) -> Tensor:
    """The tensors laid end to end, (p,)."""
    return torch.cat([part.reshape(-1) for part in parts])


def unflatten(vector: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """The parts of a flat vector, cut into the shapes of `like`."""
    pieces = vector.split([part.numel() for part in like])
    return [piece.view(part.shape) for piece, part in zip(pieces, like, strict=True)]


def transposed_product(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], v: Sequence[Tensor], retain_graph: bool = False
) -> list[Tensor]:
    """The product Jᵀv, one tensor for each input, of the map from inputs to outputs.

    An output without a graph is constant and adds nothing. Gradients of a hinge loss are such: it is piecewise linear,
    and its Hessian is zero where it exists.
    """
    moving = [(output, part) for output, part in zip(outputs, v, strict=True) if output.requires_grad]
    if not moving:
        return [torch.zeros_like(part) for part in inputs]
    outputs, v = zip(*moving, strict=True)
    return list(torch.autograd.grad(outputs, inputs, v, retain_graph=retain_graph, materialize_grads=True))


def mixed_product(f: Tensor, w: Sequence[Tensor], theta: Sequence[Tensor], v: Tensor) -> list[Tensor]:
    """The product ∇²_θw f · v, one tensor for each of `theta`.

    Args:
        f: a scalar whose graph reaches both `w` and `theta`.
        w: leaves.
        theta: leaves.
        v: (p,), laid out as `w`.
    Cost: two backward passes through f.
    """
    gradient_w = torch.autograd.grad(f, w, create_graph=True)
    return transposed_product(gradient_w, theta, unflatten(v, w))


class Hessian:
    """The Hessian ∇²_ww f at one point, as an operator on flat vectors.

    One backward pass with `create_graph` gives ∇_w f; every product differentiates that same graph, so a solve of k
    products costs one gradient graph and k backward passes through it, not k gradients more. Call it as a function:
    `Hessian(f, w)(v)` is Hv.

    Args:
        f: a scalar that depends on `w`.
        w: the leaves, in the order that vectors are laid out.
    Attributes:
        gradient: ∇_w f, (p,), detached.
    Cost: one gradient at construction; each product about two gradients.
    """

    def __init__(self, f: Tensor, w: Sequence[Tensor]) -> None:
        self._w = list(w)
        self._gradient = torch.autograd.grad(f, self._w, create_graph=True)
        self.gradient = flatten([part.detach() for part in self._gradient])

    def __call__(self, v: Tensor) -> Tensor:
        return flatten(transposed_product(self._gradient, self._w, unflatten(v, self._w), retain_graph=True))
