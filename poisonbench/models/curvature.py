"""The curvature of a whole training set's loss as an operator, a chunk of rows at a time."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from poisonbench.bilevel.gauss_newton import GaussNewton
from poisonbench.bilevel.hvp import Hessian, Operator
from poisonbench.models.base import Model
from poisonbench.problem.samples import Samples, Weights


class Curvature:
    """The operator v ↦ Hv, (p,) ↦ (p,), with H the Hessian of the mean loss over all rows, or its Gauss–Newton part.

    A product goes through the rows chunk by chunk and keeps no graph, so memory is that of a chunk, whatever n is. For
    a linear model both kinds are the same matrix; there a chunk's own operator is built once and kept, which for LR is
    in closed form.

    Args:
        model: the model; it is evaluated, not trained (batch statistics stand still).
        weights: where.
        samples: rows.
        kind: gauss-newton or hessian.
        chunk: rows a pass.
    Cost: a product costs about one and a half gradients of the whole set (gauss-newton) or two (hessian).
    """

    def __init__(
        self,
        model: Model,
        weights: Weights,
        samples: Samples,
        kind: Literal["gauss-newton", "hessian"],
        chunk: int = 1024,
    ) -> None:
        self._model, self._kind = model, kind
        self._weights = {
            name: value.detach().requires_grad_(name not in model.buffers) for name, value in weights.items()
        }
        self._parts = list(zip(samples.x.split(chunk), samples.y.split(chunk), strict=True))
        self._shares = [len(y) / len(samples) for _, y in self._parts]
        self._kept = [self._operator(x, y) for x, y in self._parts] if model.linear else None

    def __call__(self, v: Tensor) -> Tensor:
        operators = self._kept or (self._operator(x, y) for x, y in self._parts)
        total = torch.zeros_like(v)
        for share, operator in zip(self._shares, operators, strict=True):
            total.add_(operator(v), alpha=share)
        return total

    def _operator(self, x: Tensor, y: Tensor) -> Operator:
        """The curvature of one chunk's mean loss."""
        model, z = self._model, self._model.normalise(x)
        if model.linear:
            return model.hessian(self._weights, z, y)
        parameters = model.parameters(self._weights)
        if self._kind == "hessian":
            return Hessian(model.loss(model.forward(self._weights, z), y), list(parameters.values()))

        def logits(*parts: Tensor) -> Tensor:
            return model.forward(self._weights | dict(zip(parameters, parts, strict=True)), z)

        return GaussNewton(logits, lambda outputs: model.loss(outputs, y), list(parameters.values()))
