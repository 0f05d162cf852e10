"""What the linear models share: one linear layer on flat pixels."""

from __future__ import annotations

import math
from typing import TypeGuard

import torch
from torch import Tensor

from poisonbench.models.base import Model, linear_init
from poisonbench.models.layers import linear
from poisonbench.problem.samples import Weights


class LinearModel(Model):
    """A linear model: logits W z + b."""

    linear = True

    def init(self, generator: torch.Generator) -> Weights:
        """See Model."""
        return linear_init(generator, "linear", math.prod(self.shape), self.classes)

    def normalise(self, x: Tensor) -> Tensor:
        """See Model; flat, (n, d)."""
        return super().normalise(x).flatten(1)

    def forward(self, weights: Weights, z: Tensor, training: bool = False) -> Tensor:
        """See Model."""
        return linear(weights, "linear", z)

    def forward_each(self, stack: Weights, z: Tensor) -> Tensor:
        """The logits of M models, a stack of weights (M, …), on the same rows: (M, n, classes).

        One product, where a `vmap` of `forward` makes M copies of the rows: a gradient of 24 models on 1,000 images of
        MNIST takes a fifth of the time.
        """
        weight, bias = stack["linear.weight"], stack["linear.bias"]
        logits: Tensor = (z @ weight.flatten(0, 1).T).unflatten(1, weight.shape[:2])
        return logits.transpose(0, 1) + bias[:, None]

    def features(self, weights: Weights, z: Tensor) -> Tensor:
        """See Model: the normalised pixels, of which the logits are a linear function."""
        return z


def is_affine(model: Model) -> TypeGuard[LinearModel]:
    """Whether the logits are W z + b with W and b as they stand among the weights: what closed forms need. A subclass
    of LinearModel with a `forward` of its own, such as scaled logits, or with statistics, has others."""
    return isinstance(model, LinearModel) and type(model).forward is LinearModel.forward and not model.buffers
