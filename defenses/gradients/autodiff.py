"""Per-sample gradients of any model, by forward and reverse mode."""

from __future__ import annotations

import torch
from torch import Tensor

from poisonbench.bilevel.forward_mode import along
from poisonbench.models.base import Model
from poisonbench.problem.samples import Weights


class AutodiffGradients:
    """The gradients of some samples' losses, of which nothing but products is ever computed.

    Gv needs no gradient at all: entry i is the derivative of sample i's loss along v, and one forward-mode pass gives
    all of them; Gᵀu is one reverse pass of Σ uᵢ ℓᵢ. So memory is that of the activations, whatever n · p is, and every
    model works, layer by layer code or not.

    Args:
        model: the model.
        weights: where.
        x: images, (n, channels, height, width).
        y: labels, (n,).
    """

    def __init__(self, model: Model, weights: Weights, x: Tensor, y: Tensor) -> None:
        self._model, self._x, self._y = model, x, y
        self._weights = {name: value.detach() for name, value in weights.items()}
        self._parameters = model.parameters(self._weights)

    def times(self, v: Weights) -> Tensor:
        """See Gradients."""
        directions = [{name: part[k].contiguous() for name, part in v.items()} for k in range(_width(v))]
        return torch.stack([along(self._losses, (self._parameters,), (direction,))[1] for direction in directions])

    def transposed_times(self, u: Tensor) -> Weights:
        """See Gradients."""
        leaves = {name: part.clone().requires_grad_() for name, part in self._parameters.items()}
        losses = self._losses(leaves)
        found = [torch.autograd.grad(losses, list(leaves.values()), row, retain_graph=True) for row in u]
        return {name: torch.stack(parts) for name, parts in zip(leaves, zip(*found, strict=True), strict=True)}

    def _losses(self, parameters: Weights) -> Tensor:
        z = self._model.normalise(self._x)
        return self._model.losses(self._model.forward(self._weights | parameters, z), self._y)


def _width(v: Weights) -> int:
    return len(next(iter(v.values())))
