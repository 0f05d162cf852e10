"""The affine layers that models are made of, and weights that remember how they were used.

A per-sample gradient of an affine layer is a product of what went into the layer and what came back to it. A model that
calls these functions hands both over when its weights are a `Trace`; with plain weights they cost nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from poisonbench.models.closed_ops import Kernel
from poisonbench.problem.samples import Weights


@dataclass(frozen=True)
class Use:
    """A use of one parameter.

    Attributes:
        parameter: its name among the weights.
        kind: linear: output = input Wᵀ. convolution: output = W ⋆ input, stride 1. bias: output = … + b, along dim 1.
        input: what the parameter met, or None for a bias; detached.
        output: what came of it, part of the loss's graph.
        convolution: for a convolution, its map (input, W) ↦ output.
    """

    parameter: str
    kind: Literal["linear", "convolution", "bias"]
    input: Tensor | None
    output: Tensor
    convolution: Kernel | None = None


class Trace(dict[str, Tensor]):
    """Weights that note every use of theirs, in order.

    The graph begins at the first layer's output, so differentiating a loss by the noted outputs computes what comes
    back to each layer and no gradient of a weight.
    """

    def __init__(self, weights: Weights) -> None:
        super().__init__({name: value.detach() for name, value in weights.items()})
        self.uses: list[Use] = []

    def note(self, use: Use) -> None:
        """Note a use."""
        if not use.output.requires_grad:
            use.output.requires_grad_()
        self.uses.append(use)


def linear(weights: Weights, layer: str, z: Tensor) -> Tensor:
    """The affine map z Wᵀ + b, (n, out), for z (n, in)."""
    out = F.linear(z, weights[f"{layer}.weight"], weights[f"{layer}.bias"])
    if isinstance(weights, Trace):
        weights.note(Use(f"{layer}.weight", "linear", z.detach(), out))
        weights.note(Use(f"{layer}.bias", "bias", None, out))
    return out


def convolve(weights: Weights, layer: str, z: Tensor, convolution: Kernel) -> Tensor:
    """The convolution W ⋆ z without its bias, for a `convolution` of closed_ops."""
    out = convolution(z, weights[f"{layer}.weight"])
    if isinstance(weights, Trace):
        weights.note(Use(f"{layer}.weight", "convolution", z.detach(), out, convolution))
    return out


def add_bias(weights: Weights, layer: str, z: Tensor) -> Tensor:
    """The sum z + b, with one number of b a channel."""
    out = z + weights[f"{layer}.bias"][:, None, None]
    if isinstance(weights, Trace):
        weights.note(Use(f"{layer}.bias", "bias", None, out))
    return out
