"""The generalised Gauss–Newton matrix as an operator: for one product, or for many at one point."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from poisonbench.bilevel.forward_mode import along
from poisonbench.bilevel.hvp import Hessian, flatten, transposed_product, unflatten


class GaussNewton:
    """The matrix JᵀQJ for f = loss ∘ outputs, with J the Jacobian of the outputs in w and Q the loss's Hessian in the
    outputs.

    What is left of ∇²_ww f without the curvature of the outputs themselves: the whole of it where they are linear in w,
    positive semi-definite wherever the loss is convex in the outputs, and zero where the loss is piecewise linear in
    them. Call it as a function on flat vectors: `GaussNewton(outputs, loss, w)(v)`.

    Args:
        outputs: w ↦ outputs, of any shape.
        loss: outputs ↦ f, a scalar.
        w: where, in the order that vectors are laid out.
    Cost: each product one forward pass with its tangent and one backward pass, about one and a half gradients; nothing
        is kept between products.
    Source: Schraudolph, Neural Computation 2002.
    """

    def __init__(self, outputs: Callable[..., Tensor], loss: Callable[[Tensor], Tensor], w: Sequence[Tensor]) -> None:
        self._outputs, self._loss = outputs, loss
        self._w = [part.detach().requires_grad_() for part in w]

    def __call__(self, v: Tensor) -> Tensor:
        # One forward pass serves both directions: its tangent is Jv, and its graph takes QJv back.
        outputs, tangent = along(self._outputs, tuple(self._w), tuple(unflatten(v, self._w)))
        at = outputs.detach().requires_grad_()
        pulled = Hessian(self._loss(at), [at])(tangent.detach().reshape(-1)).view_as(at)
        return flatten(transposed_product([outputs], self._w, [pulled]))


class KeptGaussNewton:
    """The same matrix for many products on one batch.

    u ↦ Jᵀu is linear, so the derivative of its own graph is Jv: both graphs are built once, and a product is a backward
    pass through each.

    Args:
        outputs: of any shape; a graph that reaches `w`.
        loss: outputs ↦ f, a scalar.
        w: the leaves, in the order that vectors are laid out.
    Cost: about one gradient at construction, and as much a product; memory for both graphs.
    """

    def __init__(self, outputs: Tensor, loss: Callable[[Tensor], Tensor], w: Sequence[Tensor]) -> None:
        self._outputs, self._w = outputs, list(w)
        self._u = torch.zeros_like(outputs, requires_grad=True)
        self._pulled = torch.autograd.grad(outputs, self._w, self._u, create_graph=True)
        at = outputs.detach().requires_grad_()
        self._Q = Hessian(loss(at), [at])

    def __call__(self, v: Tensor) -> Tensor:
        (tangent,) = transposed_product(self._pulled, [self._u], unflatten(v, self._w), retain_graph=True)
        pushed = self._Q(tangent.reshape(-1)).view_as(self._outputs)
        return flatten(transposed_product([self._outputs], self._w, [pushed], retain_graph=True))
