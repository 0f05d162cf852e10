"""Poison points whose gradients cancel a given one: which rows with which labels, and which pixels."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from math import cos, pi

import torch
from torch import Tensor
from torch.optim.adam import adam

from poisonbench.bilevel.forward_mode import along
from poisonbench.bilevel.hvp import flatten, unflatten
from poisonbench.models.base import Model
from poisonbench.stage import Stage
from poisonbench.types import Budget, Samples, Weights

ROUNDS = 20
CHUNK = 1024


def mean_gradient(model: Model, w: Weights, x: Tensor, y: Tensor) -> Tensor:
    """∇_w of the mean loss of images x, (p,), in evaluation mode, a chunk of rows at a time."""
    parameters = list(model.parameters(w).values())
    total = torch.zeros(sum(part.numel() for part in parameters), dtype=x.dtype, device=x.device)
    for rows in _chunks(x):
        loss = model.losses(model.forward(w, model.normalise(x[rows])), y[rows]).sum() / len(x)
        total += flatten(torch.autograd.grad(loss, parameters))
    return total


def alignments(model: Model, w: Weights, direction: Tensor, x: Tensor) -> Tensor:
    """⟨u, ∇_w ℓ(x_i, y; w)⟩ for every image and every label y, (n, C): the derivative ṡ of the logits along u, one
    forward-mode pass, times ∂ℓ/∂s; no gradient per sample."""
    parameters = {name: value.detach() for name, value in model.parameters(w).items()}
    buffers = {name: value for name, value in w.items() if name not in parameters}
    u = dict(zip(parameters, unflatten(direction, list(parameters.values())), strict=True))

    def logits_at(part: Weights, z: Tensor) -> Tensor:
        return model.forward(part | buffers, z)

    parts = []
    for rows in _chunks(x):
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
    """Rows and labels whose gradients add up to −ḡ/ε best, by matching pursuit: in each of ROUNDS rounds, those with
    the most negative inner product with what is left of that round's share.

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
    """min ½ ‖ḡ + ε ∇_w L(D_p; w)‖² / ‖ḡ‖² over the pixels of D_p, by Adam with steps that fall to 0 along a cosine.

    With u the gradient that is left, the objective's gradient in x is that of ε ⟨u, ∇_w L(D_p; w)⟩ with u held fixed,
    taken a chunk of points at a time.

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
    parameters = list(model.parameters(w).values())
    epsilon, scale = budget.epsilon, gradient.norm()
    state = {name: torch.zeros_like(start.x) for name in ("first", "second")} | {"x": start.x.clone()}
    for step in stage.steps(task, steps, state):
        left = gradient + epsilon * mean_gradient(model, w, state["x"], start.y)
        down = torch.empty_like(state["x"])
        for rows in _chunks(state["x"]):
            x = state["x"][rows].requires_grad_()
            loss = model.losses(model.forward(w, model.normalise(x)), start.y[rows]).sum() / len(start)
            product = torch.dot(left, flatten(torch.autograd.grad(loss, parameters, create_graph=True)))
            (down[rows],) = torch.autograd.grad(product, x)
        _adam(state, down * (epsilon / scale**2), step, rate * (1 + cos(pi * step / steps)) / 2)
        state["x"] = budget.project(state["x"], start.x)
        stage.report(residual=float(left.norm() / scale))
    left = gradient + epsilon * mean_gradient(model, w, state["x"], start.y)
    return state["x"], float(left.norm() / scale)


def _chunks(x: Tensor) -> Iterator[slice]:
    return (slice(begin, begin + CHUNK) for begin in range(0, len(x), CHUNK))


def _adam(state: dict[str, Tensor], gradient: Tensor, step: int, rate: float) -> None:
    """One step of torch's Adam on state["x"], whose moments are in the state too."""
    adam(
        [state["x"]],
        [gradient],
        [state["first"]],
        [state["second"]],
        [],
        [torch.tensor(float(step))],
        amsgrad=False,
        beta1=0.9,
        beta2=0.999,
        lr=rate,
        weight_decay=0.0,
        eps=1e-8,
        maximize=False,
    )
