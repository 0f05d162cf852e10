"""Target parameters by gradient-based parameter corruption (GradPC): weights near the clean ones that do harm."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from poisonbench.bilevel.hvp import flatten, unflatten
from poisonbench.models.base import Model
from poisonbench.stage import Stage
from poisonbench.training import Recipe, minimise
from poisonbench.types import AttackerView, Weights


def corrupted_in_l2_ball(view: AttackerView, radius: float, steps: int, stage: Stage, task: str) -> Weights:
    """argmax L(D_v; w) subject to ‖w − w_clean‖₂ ≤ r, by projected steps of length r / 5 along the normalised gradient.

    Args:
        view: model, D_v and the clean weights.
        radius: r.
        steps: number of steps.
        stage: progress, checkpoint, deadline.
    Returns:
        The corrupted weights; buffers are the clean ones.
    Cost: `steps` gradients on D_v.
    Source: Sun et al., "Exploring the Vulnerability of Deep Neural Networks: A Study of Parameter Corruption", AAAI
        2021.
    """
    model = view.model
    z, y = model.normalise(view.validation.x), view.validation.y
    clean = list(model.parameters(view.weights).values())
    w0 = flatten(clean)
    state = {"w": w0.clone()}
    for _ in stage.steps(task, steps, state):
        weights = _with(model, view.weights, unflatten(state["w"], clean))
        loss, gradient = model.gradient(weights, z, y)
        up = flatten(gradient)
        offset = state["w"] + up * (radius / 5 / up.norm().clamp(min=torch.finfo(up.dtype).tiny)) - w0
        state["w"] = w0 + offset * (radius / offset.norm().clamp(min=radius))
        stage.report(validation_loss=float(loss))
    return {name: value.detach() for name, value in _with(model, view.weights, unflatten(state["w"], clean)).items()}


def corrupted_within_reach(
    view: AttackerView, start: Weights, price: float, decay: float, steps: int, rate: float, stage: Stage, task: str
) -> Weights:
    """argmax E(w) − (κ/2) ‖∇L(D_tr; w) + λ(w − w_clean)‖², E the mean of 1 − p_y(x; w) over D_tr and D_v.

    GradPC's ball holds the weights that are near; this holds those that poison can keep in place: the norm is that of
    the gradient which the poison points must cancel, to first order ‖(∇²L + λI)(w − w_clean)‖. Steepest ascent in the
    Euclidean ball runs along the directions of largest curvature, which cost most to cancel; at the same price this
    reaches a several times larger error. The error is bounded where the loss is not: a few points of huge loss are no harm to accuracy.

    ‖∇L‖² is estimated by the inner product of the gradients of two halves of a batch, which is unbiased; its gradient
    is two Hessian-vector products.

    Args:
        view: model, recipe, D_tr, D_v and the clean weights.
        start: where to start.
        price: κ.
        decay: λ; what keeps training from going on for ever: weight decay, or its end.
        steps: steps of Adam, rounded up to whole epochs.
        rate: its step size, falling to 0 along a cosine.
        stage: random stream, progress, checkpoint, deadline.
        task: the loop's name.
    Cost: each step four gradients and two Hessian-vector products of a batch.
    """
    model, n_train, n_held_out = view.model, len(view.train), len(view.validation)
    z, z_held_out = model.normalise(view.train.x), model.normalise(view.validation.x)
    clean = flatten(list(model.parameters(view.weights).values()))

    def objective(weights: Weights, rows: Tensor) -> tuple[Tensor, list[Tensor]]:
        parameters = list(model.parameters(weights).values())
        drift = decay * (flatten([part.detach() for part in parameters]) - clean)
        halves = rows.tensor_split(2) if len(rows) > 1 else (rows, rows)
        batches = [(z.index_select(0, half), view.train.y[half]) for half in halves]
        first, second = (flatten(model.gradient(weights, *batch)[1]) + drift for batch in batches)
        pull = model.hessian(weights, *batches[0])(second) + model.hessian(weights, *batches[1])(first)
        pull = pull + decay * (first + second)

        held_out = rows % n_held_out
        seen = torch.cat([z.index_select(0, rows), z_held_out.index_select(0, held_out)])
        y = torch.cat([view.train.y[rows], view.validation.y[held_out]])
        correct = torch.softmax(model.forward(weights, seen), 1).gather(1, y[:, None])
        harm = torch.autograd.grad(correct.mean(), parameters)
        value = correct.mean().detach() + price / 2 * torch.dot(first, second)
        return value, [up + price / 2 * part for up, part in zip(harm, unflatten(pull, parameters), strict=True)]

    size = min(n_train, 2 * view.recipe.batch_size)
    recipe = Recipe("adam", rate, batch_size=size, epochs=math.ceil(steps * size / n_train), schedule="cosine")
    return minimise(objective, start, model.buffers, n_train, recipe, stage, task)


def _with(model: Model, weights: Weights, parameters: list[Tensor]) -> Weights:
    """Those parameters as leaves, with the weights' own buffers copied."""
    leaves = (part.detach().clone().requires_grad_() for part in parameters)
    buffers = {name: weights[name].clone() for name in model.buffers if name in weights}
    return dict(zip(model.parameters(weights), leaves, strict=True)) | buffers
