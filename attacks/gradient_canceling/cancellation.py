"""Poison points whose gradients cancel a given one: which rows with which labels, and which pixels."""

from __future__ import annotations

from functools import partial
from math import cos, pi

import torch
from torch import Tensor

from poisonbench.attacks.pixel_adam import adam_descend, pixel_state
from poisonbench.attacks.poison_gradient import chunks, mean_gradient, pull_back
from poisonbench.bilevel.forward_mode import along
from poisonbench.bilevel.hvp import unflatten
from poisonbench.models.base import Model
from poisonbench.problem.budget import Budget
from poisonbench.problem.samples import Samples, Weights
from poisonbench.stages.stage import Stage

ROUNDS = 20


def alignments(model: Model, w: Weights, direction: Tensor, x: Tensor) -> Tensor:
    """The products ⟨u, ∇_w ℓ(x_i, y; w)⟩ for every image and every label y, (n, C): the derivative ṡ of the logits
    along u, one forward-mode pass, times ∂ℓ/∂s; no gradient per sample."""
    parameters = {name: value.detach() for name, value in model.parameters(w).items()}
    buffers = {name: value for name, value in w.items() if name not in parameters}
    u = dict(zip(parameters, unflatten(direction, list(parameters.values())), strict=True))

    def logits_at(part: Weights, z: Tensor) -> Tensor:
        return model.forward(part | buffers, z)

    parts = []
    for rows in chunks(x):
        z = model.normalise(x[rows]).detach()
        logits, tangent = along(partial(logits_at, z=z), (parameters,), (u,))
        s = logits.detach().requires_grad_()
        labels = [torch.full((len(z),), label, device=z.device) for label in range(model.classes)]
        slopes = [torch.autograd.grad(model.losses(s, y).sum(), s)[0] for y in labels]
        parts.append(torch.stack([(slope * tangent).sum(1) for slope in slopes], dim=1))
    return torch.cat(parts)


def matching_rows(
    model: Model, w: Weights, gradient: Tensor, rows: Samples, n: int, epsilon: float
) -> tuple[Tensor, Tensor]:
    """The rows and labels whose gradients add up to −ḡ/ε best, by matching pursuit: in each of ROUNDS rounds, those
    with the most negative inner product with what is left of that round's share.

    Args:
        model: in evaluation mode.
        w: the target, leaves.
        gradient: ḡ, (p,).
        rows: what to choose from; a row may be taken more than once.
        n: how many.
        epsilon: n_poison / n_train.
    Returns:
        Row numbers and labels, (n,) each.
    """
    classes = model.classes
    chosen: list[Tensor] = []
    labels: list[Tensor] = []
    done, total = 0, torch.zeros_like(gradient)
    for share in torch.arange(n).chunk(ROUNDS):
        due = (done + len(share)) / n
        scores = alignments(model, w, due * gradient + epsilon / n * total, rows.x)
        best = scores.flatten().topk(len(share), largest=False).indices
        row, y = best // classes, best % classes
        total += mean_gradient(model, w, rows.x[row], y) * len(row)
        done += len(share)
        chosen.append(row)
        labels.append(y)
    return torch.cat(chosen), torch.cat(labels)


def cancel(
    model: Model,
    w: Weights,
    gradient: Tensor,
    start: Samples,
    budget: Budget,
    steps: int,
    rate: float,
    stage: Stage,
    task: str,
) -> tuple[Tensor, float]:
    """Minimise ½ ‖ḡ + ε ∇_w L(D_p; w)‖² / ‖ḡ‖² over the pixels of D_p, by Adam with steps that fall to 0 along a
    cosine.

    With u the gradient that is left, the objective's gradient in x is that of ε ⟨u, ∇_w L(D_p; w)⟩ with u held fixed.

    Args:
        model: in evaluation mode.
        w: the target, leaves.
        gradient: ḡ, (p,): what is to be canceled.
        start: the points and their labels.
        budget: box, radius and ε; distances are from `start`.
        steps: Adam's steps.
        rate: its first step size, in pixels.
        stage: progress, checkpoint, deadline.
        task: the loop's name.
    Returns:
        The images, and the part of ḡ that is left: ‖ḡ + ε ∇_w L(D_p; w)‖ / ‖ḡ‖.
    Cost: each step a gradient of the points and the gradient of one of its products.
    """
    epsilon, scale = budget.epsilon, gradient.norm()
    state = pixel_state(start.x)
    for step in stage.steps(task, steps, state):
        left = gradient + epsilon * mean_gradient(model, w, state["x"], start.y)
        down = pull_back(model, w, left, state["x"], start.y) * (epsilon / scale**2)
        adam_descend(state, down, rate * (1 + cos(pi * step / steps)) / 2, step)
        state["x"] = budget.project(state["x"], start.x)
        stage.report(residual=float(left.norm() / scale))
    left = gradient + epsilon * mean_gradient(model, w, state["x"], start.y)
    return state["x"], float(left.norm() / scale)
