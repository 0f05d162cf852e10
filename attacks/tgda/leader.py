"""The leader L of the TGDA attack: an autoencoder that sees image and label and makes the poisoned image."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from poisonbench.models.base import conv_init, linear_init
from poisonbench.problem.recipe import Recipe
from poisonbench.problem.samples import Samples, Weights
from poisonbench.stages.stage import Stage
from poisonbench.training import minimise


@dataclass(frozen=True)
class Leader(ABC):
    """The leader L_θ: [x; y] ↦ x′.

    Inside, pixels and labels are scaled to [−1, 1]; the output is a tanh scaled to [0, 1], so that every image it can
    make is inside the box.

    Attributes:
        shape: channels, height, width.
        classes: number of classes; the label enters as one number, y / (C − 1).
    """

    shape: tuple[int, int, int]
    classes: int

    @abstractmethod
    def init(self, generator: torch.Generator) -> Weights:
        """Fresh weights θ, drawn on the CPU."""

    @abstractmethod
    def inputs(self, samples: Samples) -> Tensor:
        """The inputs [x; y] as the first layer takes it, for rows of images and labels."""

    def passed(self, theta: Weights, start: Samples, passes: int) -> Samples:
        """The rows after L has made its images of them, and of those again, so many times."""
        for _ in range(passes - 1):
            start = replace(start, x=self.images(theta, self.inputs(start)))
        return start

    @abstractmethod
    def images(self, theta: Weights, inputs: Tensor) -> Tensor:
        """The images L_θ of those inputs, (n, channels, height, width) in [0, 1]."""

    def _label(self, y: Tensor, dtype: torch.dtype) -> Tensor:
        return 2.0 * y.to(dtype) / max(1, self.classes - 1) - 1.0


class DenseLeader(Leader):
    """The paper's leader for MNIST: three fully connected layers (785-784-784-784), leaky ReLU of slope 0.2."""

    def init(self, generator: torch.Generator) -> Weights:
        """See Leader."""
        channels, height, width = self.shape
        d = channels * height * width
        return {
            **linear_init(generator, "layer1", d + 1, d),
            **linear_init(generator, "layer2", d, d),
            **linear_init(generator, "layer3", d, d),
        }

    def inputs(self, samples: Samples) -> Tensor:
        """See Leader; (n, d + 1)."""
        return torch.cat([2.0 * samples.x.flatten(1) - 1.0, self._label(samples.y, samples.x.dtype)[:, None]], dim=1)

    def images(self, theta: Weights, inputs: Tensor) -> Tensor:
        """See Leader."""
        hidden = inputs
        for layer in ("layer1", "layer2"):
            hidden = F.leaky_relu(F.linear(hidden, theta[f"{layer}.weight"], theta[f"{layer}.bias"]), 0.2)
        out = torch.tanh(F.linear(hidden, theta["layer3.weight"], theta["layer3.bias"]))
        return ((out + 1.0) / 2.0).view(-1, *self.shape)


class ConvolutionalLeader(Leader):
    """The paper's leader for CIFAR-10: three convolutions and three transposed convolutions (4×4, stride 2), ReLU; the
    label is one more constant channel of the image. Height and width must be multiples of 8."""

    WIDTHS = (12, 24, 48)

    def init(self, generator: torch.Generator) -> Weights:
        """See Leader."""
        down = [self.shape[0] + 1, *self.WIDTHS]
        up = [*reversed(self.WIDTHS), self.shape[0]]
        theta: Weights = {}
        for index in range(3):
            theta |= conv_init(generator, f"down{index + 1}", down[index], down[index + 1], 4)
        for index in range(3):
            layer = conv_init(generator, f"up{index + 1}", up[index], up[index + 1], 4)
            layer[f"up{index + 1}.weight"] = layer[f"up{index + 1}.weight"].transpose(0, 1).contiguous()
            theta |= layer
        return theta

    def inputs(self, samples: Samples) -> Tensor:
        """See Leader; (n, channels + 1, height, width)."""
        plane = self._label(samples.y, samples.x.dtype)[:, None, None, None].expand(-1, 1, *self.shape[1:])
        return torch.cat([2.0 * samples.x - 1.0, plane], dim=1)

    def images(self, theta: Weights, inputs: Tensor) -> Tensor:
        """See Leader."""
        z = inputs
        for layer in ("down1", "down2", "down3"):
            z = torch.relu(F.conv2d(z, theta[f"{layer}.weight"], theta[f"{layer}.bias"], stride=2, padding=1))
        for layer in ("up1", "up2"):
            z = torch.relu(F.conv_transpose2d(z, theta[f"{layer}.weight"], theta[f"{layer}.bias"], stride=2, padding=1))
        z = F.conv_transpose2d(z, theta["up3.weight"], theta["up3.bias"], stride=2, padding=1)
        return (torch.tanh(z) + 1.0) / 2.0


def leader_for(shape: tuple[int, int, int], classes: int) -> Leader:
    """The leader that the paper chooses: convolutional for colour images, dense for grey ones (and for sizes that three
    halvings do not divide)."""
    channels, height, width = shape
    convolutional = channels == 3 and height % 8 == 0 and width % 8 == 0
    return ConvolutionalLeader(shape, classes) if convolutional else DenseLeader(shape, classes)


def drawn(leader: Leader, dtype: torch.dtype, stage: Stage) -> Weights:
    """Fresh weights θ where the stage computes, of that type."""
    return {name: value.to(stage.device, dtype) for name, value in leader.init(stage.generator).items()}


def autoencoder(leader: Leader, train: Samples, recipe: Recipe, stage: Stage) -> Weights:
    """The pretrained weights θ_pre: fresh weights of the images' type, trained to make D_tr of image and label."""
    theta = drawn(leader, train.x.dtype, stage)
    inputs, images = leader.inputs(train), train.x

    def reconstruction(theta: Weights, rows: Tensor) -> tuple[Tensor, list[Tensor]]:
        made = leader.images(theta, inputs.index_select(0, rows))
        error = F.mse_loss(made, images.index_select(0, rows))
        return error.detach(), list(torch.autograd.grad(error, [theta[name] for name in sorted(theta)]))

    return minimise(reconstruction, theta, frozenset(), len(train), recipe, stage, "pretrain leader")
