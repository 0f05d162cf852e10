"""Hessian-vector products on a graph that is built once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Operator = Callable[[Tensor], Tensor]
"""A symmetric linear map on flat vectors, (p,) ↦ (p,)."""


def flatten(parts: Sequence[Tensor]) -> Tensor:
    """Tensors laid end to end, (p,)."""
    return torch.cat([part.reshape(-1) for part in parts])


def unflatten(vector: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """A flat vector cut into the shapes of `like`."""
    pieces = vector.split([part.numel() for part in like])
    return [piece.view(part.shape) for piece, part in zip(pieces, like, strict=True)]


class Hessian:
    """∇²_ww f at one point, as an operator on flat vectors.

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
        products = torch.autograd.grad(
            self._gradient, self._w, unflatten(v, self._w), retain_graph=True, materialize_grads=True
        )
        return flatten(products)
