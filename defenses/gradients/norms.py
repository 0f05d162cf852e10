"""The norm of every row's gradient, from what went into each layer and what came back to it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import vjp, vmap

from poisonbench.errors import ConfigError
from poisonbench.models.base import Model
from poisonbench.models.layers import Trace, Use
from poisonbench.plugins.registry import name_of
from poisonbench.problem.samples import Samples, Weights

LARGEST = 1 << 24
"""Numbers of a convolution's per-sample gradients that are held at once."""


def squared_gradient_norms(model: Model, weights: Weights, samples: Samples, chunk: int = 1024) -> Tensor:
    """The squared norms ‖∇ℓᵢ‖², (n,), of the model in evaluation mode.

    With a what a layer met and δ what came back to it, a linear layer's gradient is δ aᵀ, of squared norm ‖δ‖² ‖a‖²; a
    bias has the sum of δ over positions; a convolution's is made for a few rows and forgotten. So the (n, p) matrix of
    gradients is never written out.

    Raises:
        ConfigError: for a model whose layers are not those of models/layers.py, each used once.
    Cost: a forward and a backward pass.
    """
    norms = []
    for x, y in zip(samples.x.split(chunk), samples.y.split(chunk), strict=True):
        trace = Trace(weights)
        loss = model.losses(model.forward(trace, model.normalise(x)), y).sum()
        if sorted(use.parameter for use in trace.uses) != list(model.parameters(weights)):
            raise ConfigError(
                f"The model {name_of(type(model))!r} does not show what its layers meet, as norms of gradients need. "
                f"Use --set defense.influence=signed or absolute."
            )
        deltas = torch.autograd.grad(loss, [use.output for use in trace.uses])
        parts = [_squared_norms(use, trace[use.parameter], d) for use, d in zip(trace.uses, deltas, strict=True)]
        norms.append(torch.stack(parts).sum(0))
    return torch.cat(norms)


def _squared_norms(use: Use, parameter: Tensor, delta: Tensor) -> Tensor:
    """The squared norms of the gradients in one use's parameter, (n,)."""
    convolution = use.convolution
    if use.input is None:
        return delta.reshape(*delta.shape[:2], -1).sum(2).square().sum(1)
    if convolution is None:
        return use.input.square().sum(1) * delta.square().sum(1)

    def squared_norm(z: Tensor, d: Tensor) -> Tensor:
        pull = vjp(lambda w: convolution(z[None], w), parameter)[1]
        pulled: Tensor = pull(d[None])[0]
        return pulled.square().sum()

    norms: Tensor = vmap(squared_norm, chunk_size=max(1, LARGEST // parameter.numel()))(use.input, delta)
    return norms
