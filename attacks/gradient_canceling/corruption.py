"""Target parameters by gradient-based parameter corruption (GradPC): weights near the clean ones that do harm."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from poisonbench.bilevel.hvp import flatten, unflatten
from poisonbench.models.base import Model
from poisonbench.problem.samples import Samples, Weights
from poisonbench.problem.views import AttackerView
from poisonbench.stages.stage import Stage

ROUND = 25
CHUNK = 2048

Parts = list[tuple[Tensor, Tensor]]
"""Normalised inputs and labels, at most CHUNK rows at a time."""


def corrupted_in_l2_ball(
    view: AttackerView, harmed: Sequence[Samples], radius: float, steps: int, batch: int, stage: Stage, task: str
) -> Weights:
    """The weights argmax L(harmed; w) subject to ‖w − w_clean‖₂ ≤ r, by projected steps of length r / 5 along the
    normalised gradient.

    Args:
        view: model and the clean weights.
        harmed: the rows whose mean loss is raised.
        radius: r.
        steps: number of steps.
        batch: a step looks at so many rows of each of `harmed`, in turn; 0 takes all.
        stage: progress, checkpoint, deadline.
        task: the loop's name.
    Returns:
        The corrupted weights; buffers are the clean ones.
    Cost: each step a gradient of those rows.
    Source: Sun et al., "Exploring the Vulnerability of Deep Neural Networks: A Study of Parameter Corruption", AAAI
        2021.
    """
    model = view.model
    clean = list(model.parameters(view.weights).values())
    w0 = flatten(clean)
    state = {"w": w0.clone()}
    for step in stage.steps(task, steps, state):
        weights = _with(model, view.weights, unflatten(state["w"], clean))
        loss, up = torch.zeros((), device=w0.device), torch.zeros_like(w0)
        turn = [in_turn(rows, batch, step) for rows in harmed]
        for rows in turn:
            own, gradient = model.gradient(weights, model.normalise(rows.x), rows.y)
            share = len(rows) / sum(map(len, turn))
            loss, up = loss + own * share, up + flatten(gradient) * share
        offset = state["w"] + up * (radius / 5 / up.norm().clamp(min=torch.finfo(up.dtype).tiny)) - w0
        state["w"] = w0 + offset * (radius / offset.norm().clamp(min=radius))
        stage.report(validation_loss=float(loss))
    return {name: value.detach() for name, value in _with(model, view.weights, unflatten(state["w"], clean)).items()}


def corrupted_within_reach(
    view: AttackerView,
    train: Samples,
    harmed: Sequence[Samples],
    start: Weights,
    price: float,
    decay: float,
    steps: int,
    batch: int,
    stage: Stage,
    task: str,
) -> Weights:
    """The weights argmax E(w) − (κ/2) ‖∇L(D_tr; w) + λ(w − w_clean)‖², E the mean of 1 − p_y(x; w) over `harmed`.

    GradPC's ball holds the weights that are near; this holds those that poison can keep in place: the norm is that of
    the gradient which the poison points must cancel, to first order ‖(∇²L + λI)(w − w_clean)‖. Steepest ascent in the
    Euclidean ball runs along the directions of largest curvature, which cost most to cancel; at the same price this
    reaches a several times larger error. The error is bounded where the loss is not: a few points of huge loss are no
    harm to accuracy. The objective is as ill-conditioned as the Hessian's square, so it is climbed by L-BFGS with a
    line search, in rounds of ROUND steps, after each of which its memory starts afresh and the weights are saved. A
    round can look at a batch of the rows, which stands still while it lasts; then no row is looked at in two rounds,
    since the norm that is left on rows already climbed on says little of D_tr's.

    Args:
        view: model and the clean weights.
        train: D_tr, or what stands for it.
        harmed: the rows that are to be misclassified.
        start: where to start.
        price: κ.
        decay: λ; what keeps training from going on for ever: weight decay, or its end.
        steps: L-BFGS's steps, rounded up to whole rounds; fewer if the batches are used up.
        batch: a round looks at so many rows of D_tr, and of each of `harmed`, in turn; 0 takes all.
        stage: progress, checkpoint, deadline.
        task: the loop's name.
    Returns:
        The corrupted weights; buffers are those of `start`.
    Cost: each step about three gradients and one Hessian-vector product of those rows.
    """
    model = view.model
    like = list(model.parameters(start).values())
    clean = flatten(list(model.parameters(view.weights).values()))

    def objective(flat: Tensor, parts: Parts, seen: Parts) -> tuple[Tensor, Tensor]:
        """The value of −E + (κ/2) ‖…‖², and its gradient, (p,)."""
        n, n_seen = (sum(len(y) for _, y in rows) for rows in (parts, seen))
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

    rounds = math.ceil(steps / ROUND)
    if 0 < batch < len(train):
        rounds = min(rounds, math.ceil(len(train) / batch))
    state = {"w": flatten(like)}
    for step in stage.steps(task, rounds, state):
        parts = _parts(model, in_turn(train, batch, step))
        seen = [part for rows in harmed for part in _parts(model, in_turn(rows, batch, step))]
        leaf = state["w"].clone().requires_grad_()
        climber = torch.optim.LBFGS([leaf], max_iter=ROUND, history_size=20, line_search_fn="strong_wolfe")

        def closure(leaf: Tensor = leaf, parts: Parts = parts, seen: Parts = seen) -> Tensor:
            value, leaf.grad = objective(leaf.detach(), parts, seen)
            return value

        climber.step(closure)
        state["w"] = leaf.detach()
    return {name: value.detach() for name, value in _with(model, start, unflatten(state["w"], like)).items()}


def in_turn(samples: Samples, batch: int, k: int) -> Samples:
    """The k-th of batches that take the rows in turn, over and over; all rows, in their order, where a batch would hold
    them all, and for 0."""
    if not 0 < batch < len(samples):
        return samples
    return samples.rows(torch.arange(k * batch, (k + 1) * batch, device=samples.y.device) % len(samples))


def _parts(model: Model, rows: Samples) -> Parts:
    return list(zip(model.normalise(rows.x).split(CHUNK), rows.y.split(CHUNK), strict=True))


def _with(model: Model, weights: Weights, parameters: list[Tensor]) -> Weights:
    """The weights with those parameters as leaves, and with copies of their own buffers."""
    leaves = (part.detach().clone().requires_grad_() for part in parameters)
    buffers = {name: weights[name].clone() for name in model.buffers if name in weights}
    return dict(zip(model.parameters(weights), leaves, strict=True)) | buffers
