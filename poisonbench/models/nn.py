"""The paper's NN: three fully connected layers, as wide as the input."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from poisonbench.models.base import Model, linear_init
from poisonbench.models.layers import linear
from poisonbench.plugins.registry import register
from poisonbench.problem.samples import Weights

SLOPE = 0.2


@register("nn")
class NeuralNetwork(Model):
    """d-d-d-C with leaky ReLU (slope 0.2); 784-784-784-10 on MNIST."""

    version: ClassVar[int] = 1

    def init(self, generator: torch.Generator) -> Weights:
        """See Model."""
        width = math.prod(self.shape)
        return {
            **linear_init(generator, "hidden1", width, width),
            **linear_init(generator, "hidden2", width, width),
            **linear_init(generator, "output", width, self.classes),
        }

    def normalise(self, x: Tensor) -> Tensor:
        """See Model; flat, (n, d)."""
        return super().normalise(x).flatten(1)

    def forward(self, weights: Weights, z: Tensor, training: bool = False) -> Tensor:
        """See Model."""
        return linear(weights, "output", self.features(weights, z))

    def features(self, weights: Weights, z: Tensor) -> Tensor:
        """See Model."""
        for layer in ("hidden1", "hidden2"):
            z = F.leaky_relu(linear(weights, layer, z), SLOPE)
        return z
