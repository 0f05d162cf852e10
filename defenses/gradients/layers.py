"""Per-sample gradients from what went into each layer and what came back to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_weight

from poisonbench.models.base import Model
from poisonbench.models.layers import Trace
from poisonbench.problem.samples import Weights


@dataclass(frozen=True)
class Factored:
    """The gradients δᵢaᵢᵀ and δᵢ of a linear layer, never multiplied out.

    Attributes:
        weight: the weight's name.
        bias: the bias's name.
        a: what went in, (n, in).
        delta: what came back, (n, out).
    """

    weight: str
    bias: str
    a: Tensor
    delta: Tensor

    def times(self, v: Weights) -> Tensor:
        """The products δᵢᵀ(V aᵢ + c), (b, n), for V (b, out, in) and c (b, out)."""
        along = F.linear(self.a, v[self.weight].flatten(0, 1), v[self.bias].flatten())
        products: Tensor = (along.unflatten(1, v[self.bias].shape) * self.delta[:, None]).sum(2)
        return products.T

    def transposed_times(self, u: Tensor) -> Weights:
        """The sums Σᵢ uᵢ δᵢaᵢᵀ, (b, out, in), and Σᵢ uᵢ δᵢ, (b, out), for u (b, n)."""
        weighted = u.T[:, :, None] * self.delta[:, None]
        return {
            self.weight: (weighted.flatten(1).T @ self.a).unflatten(0, weighted.shape[1:]),
            self.bias: weighted.sum(0),
        }


@dataclass(frozen=True)
class Explicit:
    """The gradients of one parameter, written out.

    Attributes:
        parameter: its name.
        g: (n, *shape).
    """

    parameter: str
    g: Tensor

    def times(self, v: Weights) -> Tensor:
        """The products ⟨gᵢ, v⟩, (b, n), for v (b, *shape)."""
        return v[self.parameter].flatten(1) @ self.g.flatten(1).T

    def transposed_times(self, u: Tensor) -> Weights:
        """The sums Σᵢ uᵢ gᵢ, (b, *shape), for u (b, n)."""
        return {self.parameter: (u @ self.g.flatten(1)).unflatten(1, self.g.shape[1:])}


@dataclass(frozen=True)
class LayerGradients:
    """The gradients of some samples' losses, from one forward and one backward pass.

    A linear layer's are outer products of activations a and deltas δ = ∂ℓ/∂output, and stay so; those of biases and
    convolutions are written out. A convolution's kernel is small, but is used at every position: for the second of
    MNIST's CNN, gradients are 12,800 numbers a row, activations and deltas are 9,408, and a product takes 26 thousand
    operations with the former and 5 million with the latter.

    Attributes:
        parts: of every layer.
    """

    parts: tuple[Factored | Explicit, ...]

    @classmethod
    def of(cls, model: Model, weights: Weights, x: Tensor, y: Tensor) -> LayerGradients:
        """The gradients at these weights of images x, (n, channels, height, width), with labels y, (n,).

        The model is evaluated, so that a row's loss depends on no other row, and the gradient of their sum holds each
        row's deltas.
        """
        trace = Trace(weights)
        losses = model.losses(model.forward(trace, model.normalise(x)), y)
        deltas = torch.autograd.grad(losses.sum(), [use.output for use in trace.uses])
        return cls(tuple(_parts(trace, deltas)))

    @staticmethod
    def cover(model: Model, weights: Weights, x: Tensor) -> bool:
        """Whether the model, run on images x, traces every parameter, and each just once."""
        trace = Trace(weights)
        model.forward(trace, model.normalise(x))
        return sorted(use.parameter for use in trace.uses) == list(model.parameters(weights))

    @property
    def numel(self) -> int:
        """How many numbers the gradients hold."""
        return sum(tensor.numel() for part in self.parts for tensor in _tensors(part).values())

    def placed(self, block: Tensor) -> LayerGradients:
        """The same gradients, copied to the front of a block of at least `numel` numbers."""
        parts = []
        for part in self.parts:
            copies: dict[str, Any] = {}
            for name, tensor in _tensors(part).items():
                place, block = block.tensor_split([tensor.numel()])
                copies[name] = place.view(tensor.shape).copy_(tensor)
            parts.append(replace(part, **copies))
        return LayerGradients(tuple(parts))

    def times(self, v: Weights) -> Tensor:
        """See Gradients."""
        return torch.stack([part.times(v) for part in self.parts]).sum(0)

    def transposed_times(self, u: Tensor) -> Weights:
        """See Gradients."""
        return {name: value for part in self.parts for name, value in part.transposed_times(u).items()}


def _tensors(part: Factored | Explicit) -> dict[str, Tensor]:
    return {name: value for name, value in vars(part).items() if isinstance(value, Tensor)}


def _parts(trace: Trace, deltas: Sequence[Tensor]) -> Iterator[Factored | Explicit]:
    """The parts of a trace. A linear layer's weight and bias meet in one output; a convolution's bias is added
    somewhere behind it."""
    linear = {
        id(use.output): (use.parameter, use.input)
        for use in trace.uses
        if use.kind == "linear" and use.input is not None
    }
    for use, delta in zip(trace.uses, deltas, strict=True):
        if use.kind == "bias" and id(use.output) in linear:
            weight, a = linear[id(use.output)]
            yield Factored(weight, use.parameter, a, delta)
        elif use.kind == "bias":
            yield Explicit(use.parameter, delta.flatten(2).sum(2))
        elif use.kind == "convolution" and use.input is not None:
            yield Explicit(use.parameter, _kernel_gradients(use.input, delta, trace[use.parameter].shape))


def _kernel_gradients(a: Tensor, delta: Tensor, shape: torch.Size) -> Tensor:
    """The gradient of each sample alone in the kernel of a convolution of stride 1, (n, *shape)."""
    padding = (delta.shape[2] - a.shape[2] + shape[2] - 1) // 2

    def one(a: Tensor, delta: Tensor) -> Tensor:
        gradient: Tensor = conv2d_weight(a[None], list(shape), delta[None], padding=padding)
        return gradient

    return torch.vmap(one)(a, delta)
