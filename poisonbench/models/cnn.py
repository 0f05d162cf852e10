"""The paper's CNN: two convolutions with max-pooling and one linear layer."""

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

WIDTHS = (16, 32)
KERNEL = 5
PADDING = 2
_convolve = convolution(KERNEL, PADDING)


@register("cnn")
class CNN(Model):
    """16 and 32 channels, 5×5 kernels, 2×2 max-pooling, ReLU, one linear layer."""

    version: ClassVar[int] = 1

    def init(self, generator: torch.Generator) -> Weights:
        """See Model."""
        channels, height, width = self.shape
        return {
            **conv_init(generator, "conv1", channels, WIDTHS[0], KERNEL),
            **conv_init(generator, "conv2", WIDTHS[0], WIDTHS[1], KERNEL),
            **linear_init(generator, "output", WIDTHS[1] * (height // 4) * (width // 4), self.classes),
        }

    def forward(self, weights: Weights, z: Tensor, training: bool = False) -> Tensor:
        """See Model."""
        return linear(weights, "output", self.features(weights, z))

    def features(self, weights: Weights, z: Tensor) -> Tensor:
        """See Model.

        Bias and ReLU come after the pooling, on a quarter of the numbers: both are monotone and the same all over a
        window, so the function and its derivatives are those of convolution, bias, ReLU, pooling.
        """
        z = channels_last(z)
        for layer in ("conv1", "conv2"):
            z = max_pool(convolve(weights, layer, z, _convolve))
            z = torch.relu(add_bias(weights, layer, z))
        return z.flatten(1)
