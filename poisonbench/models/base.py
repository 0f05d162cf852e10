"""What a model is here: a pure function of its weights, with normalisation as its first layer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from poisonbench.bilevel.clipping import shortened
from poisonbench.bilevel.gauss_newton import KeptGaussNewton
from poisonbench.bilevel.hvp import Hessian, Operator, mixed_product
from poisonbench.errors import ConfigError
from poisonbench.plugins.registry import name_of
from poisonbench.problem.open_samples import OpenDataset
from poisonbench.problem.samples import Dataset, Weights


@dataclass(frozen=True)
class Model(ABC):
    """An architecture for one kind of image. It holds no weights: they are handed in, so that training, Hessian-vector
    products and unrolled gradients are plain functions of them.

    Attributes:
        shape: channels, height, width.
        classes: number of classes C.
        mean: what the first layer subtracts, per channel.
        std: what it divides by, per channel.
    """

    shape: tuple[int, int, int]
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    version: ClassVar[int] = 1
    """Raised whenever the numbers can change: records of two versions are never compared."""

    linear: ClassVar[bool] = False
    """Whether the logits are linear in the pixels."""

    buffers: ClassVar[frozenset[str]] = frozenset()
    """Names of weights that are statistics rather than parameters: training moves them, gradients do not."""

    @abstractmethod
    def init(self, generator: torch.Generator) -> Weights:
        """Fresh weights, drawn on the CPU in float32."""

    @abstractmethod
    def forward(self, weights: Weights, z: Tensor, training: bool = False) -> Tensor:
        """The logits (n, C) of normalised inputs, which `normalise` made. A model with batch statistics updates its
        buffers in place when `training`."""

    def size(self) -> int:
        """How many numbers the weights hold, buffers included."""
        return n_params(self.init(torch.Generator()))

    def features(self, weights: Weights, z: Tensor) -> Tensor:
        """The penultimate activations of normalised inputs, (n, k), in evaluation mode: the logits are an affine
        function of them. Defenses in feature space look at these.

        Raises:
            ConfigError: if the architecture names none.
        """
        raise ConfigError(f"The model {name_of(type(self))!r} has no features. Use --set defense.space=pixels.")

    def normalise(self, x: Tensor) -> Tensor:
        """The first layer: (x − mean) / std per channel for x (n, channels, height, width) in [0, 1]. A training run
        applies it once to the whole set."""
        mean = x.new_tensor(self.mean)[:, None, None]
        std = x.new_tensor(self.std)[:, None, None]
        return (x - mean) / std

    def losses(self, logits: Tensor, y: Tensor) -> Tensor:
        """The training loss of each sample, (n,): cross entropy."""
        return F.cross_entropy(logits, y, reduction="none")

    def loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """The mean training loss."""
        return F.cross_entropy(logits, y)

    def gradient(self, weights: Weights, z: Tensor, y: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The mean training loss on normalised inputs and its gradient, in the order of `parameters`, which must be
        leaves that require gradients. Buffers move, as in training."""
        loss = self.loss(self.forward(weights, z, training=True), y)
        return loss.detach(), list(torch.autograd.grad(loss, list(self.parameters(weights).values())))

    def soft_losses(self, logits: Tensor, p: Tensor) -> Tensor:
        """The training loss of each sample, (n,), expected over labels of probabilities p, (n, C)."""
        every = [self.losses(logits, torch.full_like(p[:, 0], label, dtype=torch.int64)) for label in range(p.shape[1])]
        return (p * torch.stack(every, 1)).sum(1)

    def weighted_gradient(
        self, weights: Weights, z: Tensor, y: Tensor, row_weights: Tensor | None
    ) -> tuple[Tensor, list[Tensor]]:
        """The same as `gradient`, of the mean of weight · loss, where labels may be soft, (n, C)."""
        if row_weights is None and not y.is_floating_point():
            return self.gradient(weights, z, y)
        logits = self.forward(weights, z, training=True)
        losses = self.soft_losses(logits, y) if y.is_floating_point() else self.losses(logits, y)
        loss = (losses if row_weights is None else losses * row_weights).mean()
        return loss.detach(), list(torch.autograd.grad(loss, list(self.parameters(weights).values())))

    def descend(
        self, weights: Weights, z: Tensor, y: Tensor, rate: float, steps: int, clip: float | None = None
    ) -> None:
        """Take so many steps of gradient descent on that loss, in place, with gradients clipped to a norm if there is
        one: `parameters` are leaves that require gradients. A model whose step costs less than calling for it may own
        its buffers; the bits stay the same."""
        parameters = list(self.parameters(weights).values())
        for _ in range(steps):
            _, gradients = self.gradient(weights, z, y)
            with torch.no_grad():
                size = shortened(rate, gradients, clip)
                for parameter, part in zip(parameters, gradients, strict=True):
                    parameter.add_(part, alpha=-size)

    def hessian(self, weights: Weights, z: Tensor, y: Tensor) -> Operator:
        """The Hessian ∇²_ww of that loss at these weights, as an operator on flat vectors laid out in the order of
        `parameters`."""
        loss = self.loss(self.forward(weights, z, training=True), y)
        return Hessian(loss, list(self.parameters(weights).values()))

    def gauss_newton(self, weights: Weights, z: Tensor, y: Tensor) -> Operator:
        """The Gauss–Newton matrix of that loss at these weights, laid out as `hessian`: the Hessian without the
        curvature of the logits themselves, so it is positive semi-definite where networks' Hessians are not."""
        logits = self.forward(weights, z, training=True)
        return KeptGaussNewton(logits, lambda at: self.loss(at, y), list(self.parameters(weights).values()))

    def mixed_gradient(self, weights: Weights, z: Tensor, y: Tensor, v: Tensor) -> Tensor:
        """The gradient ∇_z Σ_i ⟨v, ∇_w ℓ_i⟩ of the shape of z: how a movement of the inputs turns the rows' gradients
        towards v, a flat vector laid out in the order of `parameters`."""
        z = z.detach().requires_grad_()
        total = self.losses(self.forward(weights, z, training=True), y).sum()
        (found,) = mixed_product(total, list(self.parameters(weights).values()), [z], v)
        return found

    def parameters(self, weights: Weights) -> Weights:
        """The weights without the buffers, by name in alphabetical order: the one order in which gradients and flat
        vectors are laid out, whatever order a file or a caller has the weights in."""
        return {name: weights[name] for name in sorted(weights) if name not in self.buffers}

    @torch.no_grad()
    def predict(self, weights: Weights, x: Tensor, chunk: int = 1024) -> Tensor:
        """The logits (n, C) of images x (n, channels, height, width), in evaluation mode, a chunk of rows at a time."""
        return torch.cat([self.forward(weights, self.normalise(part)) for part in x.split(chunk)])

    @torch.no_grad()
    def embed(self, weights: Weights, x: Tensor, chunk: int = 1024) -> Tensor:
        """The features (n, k) of images x (n, channels, height, width), a chunk of rows at a time."""
        return torch.cat([self.features(weights, self.normalise(part)) for part in x.split(chunk)])


def build(cls: type[Model], dataset: Dataset | OpenDataset) -> Model:
    """The architecture fitted to a dataset's images."""
    return cls(dataset.shape, dataset.classes, dataset.mean, dataset.std)


def n_params(weights: Weights) -> int:
    """The number of numbers that the weights hold, buffers included."""
    return sum(value.numel() for value in weights.values())


def work_per_row(model: Model) -> int:
    """An upper bound on the multiply-adds of one image's forward pass: every kernel at every place, no stride, no
    pooling."""
    _, height, width = model.shape
    weights = model.init(torch.Generator()).values()
    return sum(value.numel() * (height * width if value.dim() == 4 else 1) for value in weights)


def linear_init(generator: torch.Generator, name: str, n_in: int, n_out: int) -> Weights:
    """PyTorch's default for nn.Linear: weight and bias uniform in ±1/√n_in."""
    return _uniform(generator, name, (n_out, n_in), n_in)


def conv_init(generator: torch.Generator, name: str, n_in: int, n_out: int, kernel: int) -> Weights:
    """PyTorch's default for nn.Conv2d: weight and bias uniform in ±1/√(n_in · kernel²)."""
    return _uniform(generator, name, (n_out, n_in, kernel, kernel), n_in * kernel * kernel)


def _uniform(generator: torch.Generator, name: str, shape: tuple[int, ...], fan_in: int) -> Weights:
    bound = fan_in**-0.5
    draw = [torch.rand(size, generator=generator) * 2 * bound - bound for size in (shape, shape[:1])]
    return {f"{name}.weight": draw[0], f"{name}.bias": draw[1]}
