"""T steps of training on D_tr ∪ D_p, and the gradient of what comes out of them with respect to D_p's pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from poisonbench.bilevel.adjoint import adjoint_gradient
from poisonbench.bilevel.hvp import flatten, transposed_product, unflatten
from poisonbench.models.base import Model
from poisonbench.problem.samples import Samples, Weights


@dataclass(frozen=True)
class PoisonedDescent:
    """Gradient descent w_{t+1} = w_t − η ∇_w f_t(w_t), with f_t = (N · mean loss of a batch of D_tr + n · mean loss of
    a batch of D_p) / (N + n), N = |D_tr|, n = |D_p|: over the batches' draws, the mean loss of D_tr ∪ D_p whatever the
    two sizes are.

    Attributes:
        model: what is trained.
        rate: η.
        z: D_tr, normalised.
        y: its labels.
        held_out_z: D_v, normalised.
        held_out_y: its labels.
        batches: rows of D_tr of each step, (T, batch).
        shares: rows of D_p of each step, (T, share).
    """

    model: Model
    rate: float
    z: Tensor
    y: Tensor
    held_out_z: Tensor
    held_out_y: Tensor
    batches: Tensor
    shares: Tensor

    def back_gradient(self, poison: Samples, w0: Weights) -> tuple[Tensor, float, Weights]:
        """The gradient ∇_x L(D_v, w_T), shaped as poison.x; L(D_v, w_T); and w_T. Buffers in w0 are statistics that
        training moves but, since training normalises by its batch, never reads; they are copied, and those of w0 come
        back."""
        model, z_poison = self.model, self.model.normalise(poison.x)
        names, buffers = list(model.parameters(w0)), {name: w0[name].clone() for name in model.buffers}
        total = len(self.z) + len(poison)
        clean_part, poison_part = len(self.z) / total, len(poison) / total

        def weights(w: list[Tensor]) -> Weights:
            return dict(zip(names, w, strict=True)) | buffers

        def gradient(w: list[Tensor], t: int) -> list[Tensor]:
            batch, share = self.batches[t], self.shares[t]
            _, clean = model.gradient(weights(w), self.z.index_select(0, batch), self.y[batch])
            _, crafted = model.gradient(weights(w), z_poison.index_select(0, share), poison.y[share])
            return [clean_part * a + poison_part * b for a, b in zip(clean, crafted, strict=True)]

        def products(w: list[Tensor], v: Tensor, t: int) -> tuple[Tensor, list[Tensor]]:
            batch, share = self.batches[t], self.shares[t]
            curved = model.hessian(weights(w), self.z.index_select(0, batch), self.y[batch])(v)
            x = poison.x[share].requires_grad_()
            f = model.loss(model.forward(weights(w), model.normalise(x), training=True), poison.y[share])
            slope = torch.autograd.grad(f, w, create_graph=True)
            *along_w, along_x = transposed_product(slope, [*w, x], unflatten(v, w))
            mixed = torch.zeros_like(poison.x).index_add_(0, share, along_x)
            return clean_part * curved + poison_part * flatten(along_w), [poison_part * mixed]

        def outer(w: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
            return model.gradient(weights(w), self.held_out_z, self.held_out_y)

        start = [w0[name] for name in names]
        (ascent,), value, w_T = adjoint_gradient(gradient, products, start, self.rate, len(self.batches), outer)
        trained = {name: part.detach() for name, part in zip(names, w_T, strict=True)}
        return ascent, value, trained | {name: w0[name] for name in model.buffers}


def rounds(n: int, size: int, steps: int, generator: torch.Generator) -> Tensor:
    """Row numbers below n, (steps, size), in random order: every row comes once before any comes again."""
    times = math.ceil(steps * size / n)
    return torch.cat([torch.randperm(n, generator=generator) for _ in range(times)])[: steps * size].view(steps, size)
