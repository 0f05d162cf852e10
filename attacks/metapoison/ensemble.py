"""M models of one architecture as one stack of weights, (M, …) each, trained side by side on the same batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.func import vmap

from poisonbench.models.base import Model, n_params
from poisonbench.models.linear import is_affine
from poisonbench.problem.recipe import Recipe
from poisonbench.problem.samples import Samples, Weights
from poisonbench.stages.stage import Stage
from poisonbench.training import BatchGradient, minimise

LARGEST_AT_ONCE = 100_000_000
"""Multiply-adds of one model on one batch up to which all models run at once; above, no model waits for dispatch."""


def stacked(weights: Sequence[Weights]) -> Weights:
    """One stack of the models' weights, (M, …) each, in that order."""
    return {name: torch.stack([w[name] for w in weights]) for name in weights[0]}


def together(model: Model, stack: Weights, z: Tensor) -> list[Weights]:
    """The stack in parts whose models are evaluated at once: all, or one by one.

    Linear models are one product. Other small dense networks spend their time on dispatch, so all at once by `vmap` is
    1.6 to 3 times as fast (tests/benchmarks/test_ensemble.py); large ones do not, and a graph of all of them takes M
    times the memory. One by one, too, go convolutions, whose kernels have no batching rule here, and batch statistics,
    which change in place.
    """
    size = len(next(iter(stack.values())))
    if is_affine(model):
        return [stack]
    dense = z.dim() == 2 and not model.buffers
    if dense and len(z) * n_params(stack) <= size * LARGEST_AT_ONCE:
        return [stack]
    return [{name: value[m : m + 1] for name, value in stack.items()} for m in range(size)]


def losses(model: Model, part: Weights, z: Tensor, y: Tensor) -> Tensor:
    """Each model's mean training loss on the same rows, for a part that `together` made.

    The gradient of their sum is the stack of the models' gradients. Buffers move, as in training.
    """
    if is_affine(model):
        of_each: Tensor = vmap(lambda logits: model.loss(logits, y))(model.forward_each(part, z))
        return of_each
    if len(next(iter(part.values()))) == 1:
        single = {name: value[0] for name, value in part.items()}
        return model.loss(model.forward(single, z, training=True), y)[None]
    found: Tensor = vmap(lambda w: model.loss(model.forward(w, z, training=True), y))(part)
    return found


def gradient(model: Model, stack: Weights, z: Tensor, y: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The models' mean loss, and the stack of each one's own gradient in the order of `model.parameters`."""
    means, gradients = [], []
    for part in together(model, stack, z):
        if len(next(iter(part.values()))) == 1:
            loss, single = model.gradient({name: value[0] for name, value in part.items()}, z, y)
            means.append(loss[None])
            gradients.append([value[None] for value in single])
        else:
            each = losses(model, part, z, y)
            means.append(each.detach())
            gradients.append(list(torch.autograd.grad(each.sum(), list(model.parameters(part).values()))))
    return torch.cat(means).mean(), [torch.cat(values) for values in zip(*gradients, strict=True)]


def stagger(size: int, epochs: int) -> list[int]:
    """The epoch that each model starts at: ⌊m · E / M⌋ for m < M."""
    return [m * epochs // size for m in range(size)]


def train_staggered(
    model: Model, starts: Sequence[int], batch_gradient: BatchGradient, n: int, recipe: Recipe, stage: Stage
) -> Weights:
    """The stack of models trained from scratch for `starts` epochs each, an ascending list.

    All share the order of rows. The last model begins alone and the others join it as late as they can, so that no
    epoch is trained twice. An optimizer with a memory loses it where a model joins.

    Args:
        model: the architecture.
        starts: how many epochs each model gets.
        batch_gradient: (stack, rows) ↦ the models' mean loss, and the stack of gradients.
        n: number of rows.
        recipe: of the training; its epochs are those of `starts`.
        stage: generator (all initial weights first, then the orders of rows), progress, checkpoint.
    """
    fresh = [stacked([model.init(stage.generator)]) for _ in starts]
    joined: Weights = {}
    for m in reversed(range(len(starts))):
        new = {name: value.to(stage.device) for name, value in fresh[m].items()}
        joined = {name: torch.cat([value, joined[name]]) for name, value in new.items()} if joined else new
        epochs = starts[m] - (starts[m - 1] if m else 0)
        if epochs:
            stretch, task = replace(recipe, epochs=epochs), f"pretrain {len(starts) - m} models"
            joined = minimise(batch_gradient, joined, model.buffers, n, stretch, stage, task)
    return joined


def ensemble_gradient(
    model: Model, models: Weights, poison: Samples, clean: list[Samples], held_out: Samples, alpha: float, share: float
) -> tuple[Tensor, float]:
    """The gradient ∇_x of 1/(MK) Σ_m Σ_{k ≤ K} ℓ_v(w_m^k), and its value, with w^k = w^{k−1} − α ∇_w f_k(w^{k−1}; x).

    The weights that the unrolled steps start from are numbers; so the clean rows of the first step need no graph.

    Args:
        model: the architecture.
        models: a stack of weights; not changed.
        poison: x in the box, and its labels.
        clean: K minibatches, normalised.
        held_out: a minibatch of D_v, normalised.
        alpha: step size.
        share: weight of the mean loss over the poison rows in f_k; the clean minibatch has the rest.
    Cost: M · K second-order gradients of all these rows; memory of one part's graph (see `together`).
    Source: Huang et al., NeurIPS 2020, Algorithm 1, lines 6 to 13.
    """
    x = poison.x.detach().requires_grad_()
    ascent, value = torch.zeros_like(x), 0.0
    scale = 1.0 / (len(next(iter(models.values()))) * len(clean))
    for part in together(model, models, clean[0].x):
        parameters, buffers = model.parameters(part), {name: part[name] for name in model.buffers}
        w = {name: value.detach().requires_grad_() for name, value in parameters.items()}

        def mean_losses(w: Weights, z: Tensor, y: Tensor, buffers: Weights = buffers) -> Tensor:
            return losses(model, w | {name: value.clone() for name, value in buffers.items()}, z, y).sum()

        z_poison, total = model.normalise(x), torch.zeros((), dtype=x.dtype, device=x.device)
        for k, batch in enumerate(clean):
            leaves = list(w.values())
            of_clean = torch.autograd.grad(mean_losses(w, batch.x, batch.y), leaves, create_graph=k > 0)
            of_poison = torch.autograd.grad(mean_losses(w, z_poison, poison.y), leaves, create_graph=True)
            slopes = zip(w.items(), of_clean, of_poison, strict=True)
            w = {name: value - alpha * ((1 - share) * a + share * b) for (name, value), a, b in slopes}
            total = total + mean_losses(w, held_out.x, held_out.y)
        ascent += torch.autograd.grad(scale * total, x)[0]
        value += scale * float(total.detach())
    return ascent, value
