"""Conditional generative adversarial nets: G makes an image of a class, D tells it from a real one."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from poisonbench.models.base import conv_init, linear_init
from poisonbench.problem.samples import Weights

SLOPE = 0.2


@dataclass(frozen=True)
class ConditionalGAN(ABC):
    """A generator G_θ(z | y) and a discriminator D_φ(x | y), two functions of their weights.

    Inside, pixels are scaled to [−1, 1] and the label is one-hot. G ends in a tanh scaled to [0, 1], so that every
    image it can make is inside the box; D ends in a logit. There are no batch statistics: an image does not depend on
    the others of its batch.

    Attributes:
        shape: channels, height, width.
        classes: number of classes C.
        latent: numbers in z.
    """

    shape: tuple[int, int, int]
    classes: int
    latent: int

    @abstractmethod
    def init_generator(self, generator: torch.Generator) -> Weights:
        """Fresh weights θ, drawn on the CPU."""

    @abstractmethod
    def init_discriminator(self, generator: torch.Generator) -> Weights:
        """Fresh weights φ, drawn on the CPU."""

    @abstractmethod
    def images(self, theta: Weights, z: Tensor, y: Tensor) -> Tensor:
        """The images G_θ(z | y), (n, channels, height, width), for z (n, latent) and labels y (n,)."""

    @abstractmethod
    def scores(self, phi: Weights, x: Tensor, y: Tensor) -> Tensor:
        """The logits s of D_φ(x | y) = σ(s), (n,): large for what looks real."""

    def _noise(self, z: Tensor, y: Tensor) -> Tensor:
        return torch.cat([z, F.one_hot(y, self.classes).to(z.dtype)], dim=1)


class DenseGAN(ConditionalGAN):
    """Fully connected networks with two hidden layers each, leaky ReLU of slope 0.2; G: 256, 512; D: 512, 256."""

    WIDTHS = (256, 512)

    def init_generator(self, generator: torch.Generator) -> Weights:
        """See ConditionalGAN."""
        return _dense_init(generator, (self.latent + self.classes, *self.WIDTHS, math.prod(self.shape)))

    def init_discriminator(self, generator: torch.Generator) -> Weights:
        """See ConditionalGAN."""
        return _dense_init(generator, (math.prod(self.shape) + self.classes, *reversed(self.WIDTHS), 1))

    def images(self, theta: Weights, z: Tensor, y: Tensor) -> Tensor:
        """See ConditionalGAN."""
        return ((torch.tanh(_dense(theta, self._noise(z, y))) + 1.0) / 2.0).view(-1, *self.shape)

    def scores(self, phi: Weights, x: Tensor, y: Tensor) -> Tensor:
        """See ConditionalGAN."""
        label = F.one_hot(y, self.classes).to(x.dtype)
        return _dense(phi, torch.cat([2.0 * x.flatten(1) - 1.0, label], dim=1)).flatten()


class ConvolutionalGAN(ConditionalGAN):
    """Convolutional networks: three transposed convolutions after a linear layer, and three convolutions before one
    (4×4, stride 2), as DCGAN's without batch normalisation; ReLU in G, leaky ReLU of slope 0.2 in D, which sees the
    label as C constant channels. Height and width must be multiples of 8."""

    WIDTHS = (32, 64, 128)

    def init_generator(self, generator: torch.Generator) -> Weights:
        """See ConditionalGAN."""
        channels, height, width = self.shape
        up = (*reversed(self.WIDTHS), channels)
        theta = linear_init(generator, "linear", self.latent + self.classes, up[0] * (height // 8) * (width // 8))
        for index in range(3):
            layer = conv_init(generator, f"up{index + 1}", up[index], up[index + 1], 4)
            layer[f"up{index + 1}.weight"] = layer[f"up{index + 1}.weight"].transpose(0, 1).contiguous()
            theta |= layer
        return theta

    def init_discriminator(self, generator: torch.Generator) -> Weights:
        """See ConditionalGAN."""
        channels, height, width = self.shape
        down = (channels + self.classes, *self.WIDTHS)
        phi: Weights = {}
        for index in range(3):
            phi |= conv_init(generator, f"down{index + 1}", down[index], down[index + 1], 4)
        return phi | linear_init(generator, "linear", down[-1] * (height // 8) * (width // 8), 1)

    def images(self, theta: Weights, z: Tensor, y: Tensor) -> Tensor:
        """See ConditionalGAN."""
        _, height, width = self.shape
        hidden = F.linear(self._noise(z, y), theta["linear.weight"], theta["linear.bias"])
        hidden = hidden.view(-1, self.WIDTHS[-1], height // 8, width // 8)
        for layer in ("up1", "up2", "up3"):
            weight, bias = theta[f"{layer}.weight"], theta[f"{layer}.bias"]
            hidden = F.conv_transpose2d(torch.relu(hidden), weight, bias, stride=2, padding=1)
        return (torch.tanh(hidden) + 1.0) / 2.0

    def scores(self, phi: Weights, x: Tensor, y: Tensor) -> Tensor:
        """See ConditionalGAN."""
        planes = F.one_hot(y, self.classes).to(x.dtype)[:, :, None, None].expand(-1, -1, *self.shape[1:])
        hidden = torch.cat([2.0 * x - 1.0, planes], dim=1)
        for layer in ("down1", "down2", "down3"):
            weight, bias = phi[f"{layer}.weight"], phi[f"{layer}.bias"]
            hidden = F.leaky_relu(F.conv2d(hidden, weight, bias, stride=2, padding=1), SLOPE)
        return F.linear(hidden.flatten(1), phi["linear.weight"], phi["linear.bias"]).flatten()


def gan_for(shape: tuple[int, int, int], classes: int, latent: int) -> ConditionalGAN:
    """The nets for a shape: convolutional for colour images, dense for grey ones and sizes that 8 does not divide."""
    channels, height, width = shape
    convolutional = channels == 3 and height % 8 == 0 and width % 8 == 0
    return (ConvolutionalGAN if convolutional else DenseGAN)(shape, classes, latent)


def _dense_init(generator: torch.Generator, widths: tuple[int, ...]) -> Weights:
    weights: Weights = {}
    for index, (n_in, n_out) in enumerate(itertools.pairwise(widths), start=1):
        weights |= linear_init(generator, f"layer{index}", n_in, n_out)
    return weights


def _dense(weights: Weights, hidden: Tensor) -> Tensor:
    for layer in ("layer1", "layer2"):
        hidden = F.leaky_relu(F.linear(hidden, weights[f"{layer}.weight"], weights[f"{layer}.bias"]), SLOPE)
    return F.linear(hidden, weights["layer3.weight"], weights["layer3.bias"])
