"""The generalised Gauss–Newton matrix as an operator."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
