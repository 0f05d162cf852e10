"""Target parameters by gradient-based parameter corruption (GradPC): weights near the clean ones that do harm."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from poisonbench.bilevel.hvp import flatten, unflatten
from poisonbench.models.base import Model
from poisonbench.problem.samples import Weights
from poisonbench.problem.views import AttackerView
from poisonbench.stages.stage import Stage

ROUND = 25
CHUNK = 2048


def corrupted_in_l2_ball(view: AttackerView, radius: float, steps: int, stage: Stage, task: str) -> Weights:
    """The weights argmax L(D_v; w) subject to ‖w − w_clean‖₂ ≤ r, by projected steps of length r / 5 along the
    normalised gradient.

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
    view: AttackerView, start: Weights, price: float, decay: float, steps: int, rows: int, stage: Stage, task: str
) -> Weights:
    """The weights argmax E(w) − (κ/2) ‖∇L(D_tr; w) + λ(w − w_clean)‖², E the mean of 1 − p_y(x; w) over D_tr and D_v.

    GradPC's ball holds the weights that are near; this holds those that poison can keep in place: the norm is that of
    the gradient which the poison points must cancel, to first order ‖(∇²L + λI)(w − w_clean)‖. Steepest ascent in the
    Euclidean ball runs along the directions of largest curvature, which cost most to cancel; at the same price this
    reaches a several times larger error. The error is bounded where the loss is not: a few points of huge loss are no
    harm to accuracy. The objective is as ill-conditioned as the Hessian's square, so it is climbed by L-BFGS with a
    line search, in rounds of ROUND steps, after each of which its memory starts afresh and the weights are saved.

    Args:
        view: model, D_tr, D_v and the clean weights.
        start: where to start.
        price: κ.
        decay: λ; what keeps training from going on for ever: weight decay, or its end.
        steps: L-BFGS's steps, rounded up to whole rounds.
        rows: at most so many rows of D_tr, and of D_v, are looked at; 0 takes all.
        stage: progress, checkpoint, deadline.
        task: the loop's name.
    Returns:
        The corrupted weights; buffers are those of `start`.
    Cost: each step about three gradients and one Hessian-vector product of those rows.
    """
    model = view.model
    train, held_out = (part.rows(slice(rows or len(part))) for part in (view.train, view.validation))
    parts = list(zip(model.normalise(train.x).split(CHUNK), train.y.split(CHUNK), strict=True))
    seen = [*parts, *zip(model.normalise(held_out.x).split(CHUNK), held_out.y.split(CHUNK), strict=True)]
    like = list(model.parameters(start).values())
    clean, n, n_seen = flatten(list(model.parameters(view.weights).values())), len(train), len(train) + len(held_out)

    def objective(flat: Tensor) -> tuple[Tensor, Tensor]:
        """The value of −E + (κ/2) ‖…‖², and its gradient, (p,)."""
        w = _with(model, start, unflatten(flat, like))
        left = decay * (flat - clean)
        for z, y in parts:
            left = left + flatten(model.gradient(w, z, y)[1]) * (len(y) / n)
        pull = decay * left
        for z, y in parts:
            pull = pull + model.hessian(w, z, y)(left) * (len(y) / n)
        correct, harm = torch.zeros((), device=flat.device), torch.zeros_like(flat)
        for z, y in seen:
            p = torch.softmax(model.forward(w, z), 1).gather(1, y[:, None]).sum() / n_seen
            harm += flatten(torch.autograd.grad(p, list(model.parameters(w).values())))
            correct = correct + p.detach()
        stage.report(expected_accuracy=100.0 * float(correct), gradient=float(left.norm()))
        return correct + price / 2 * left.square().sum(), harm + price * pull

    state = {"w": flatten(like)}
    for _ in stage.steps(task, math.ceil(steps / ROUND), state):
        leaf = state["w"].clone().requires_grad_()
        climber = torch.optim.LBFGS([leaf], max_iter=ROUND, history_size=20, line_search_fn="strong_wolfe")

        def closure(leaf: Tensor = leaf) -> Tensor:
            value, leaf.grad = objective(leaf.detach())
            return value

        climber.step(closure)
        state["w"] = leaf.detach()
    return {name: value.detach() for name, value in _with(model, start, unflatten(state["w"], like)).items()}


def _with(model: Model, weights: Weights, parameters: list[Tensor]) -> Weights:
    """The weights with those parameters as leaves, and with copies of their own buffers."""
    leaves = (part.detach().clone().requires_grad_() for part in parameters)
    buffers = {name: weights[name].clone() for name in model.buffers if name in weights}
    return dict(zip(model.parameters(weights), leaves, strict=True)) | buffers
