"""The CNN of the paper's CIFAR-10 experiments: LeNet's shape on colour images."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from poisonbench.models.base import Model, conv_init, linear_init
from poisonbench.models.closed_ops import convolution, max_pool
from poisonbench.models.layers import add_bias, convolve, linear
from poisonbench.models.memory_format import channels_last
from poisonbench.plugins.registry import register
from poisonbench.problem.samples import Weights

WIDTHS = (6, 16)
HIDDEN = (120, 84)
KERNEL = 5
_convolve = convolution(KERNEL, padding=0)


@register("cifar-cnn")
class CifarCNN(Model):
    """6 and 16 channels of 5×5 with 2×2 max-pooling, then 120-84-C, ReLU throughout."""

    version: ClassVar[int] = 1

    def init(self, generator: torch.Generator) -> Weights:
        """See Model."""
        channels, height, width = self.shape
        flat = WIDTHS[1] * _after_two_blocks(height) * _after_two_blocks(width)
        return {
            **conv_init(generator, "conv1", channels, WIDTHS[0], KERNEL),
            **conv_init(generator, "conv2", WIDTHS[0], WIDTHS[1], KERNEL),
            **linear_init(generator, "hidden1", flat, HIDDEN[0]),
            **linear_init(generator, "hidden2", HIDDEN[0], HIDDEN[1]),
            **linear_init(generator, "output", HIDDEN[1], self.classes),
        }

    def forward(self, weights: Weights, z: Tensor, training: bool = False) -> Tensor:
        """See Model."""
        return linear(weights, "output", self.features(weights, z))

    def features(self, weights: Weights, z: Tensor) -> Tensor:
        """See Model; bias and ReLU after the pooling, as in the CNN."""
        z = channels_last(z)
        for layer in ("conv1", "conv2"):
            z = max_pool(convolve(weights, layer, z, _convolve))
            z = torch.relu(add_bias(weights, layer, z))
        z = z.flatten(1)
        for layer in ("hidden1", "hidden2"):
            z = torch.relu(linear(weights, layer, z))
        return z


def _after_two_blocks(size: int) -> int:
    for _ in range(2):
        size = (size - KERNEL + 1) // 2
    return size
