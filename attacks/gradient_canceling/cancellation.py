"""Poison points whose gradients cancel a given one: which rows with which labels, and which pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import cos, isfinite, pi

import torch
from torch import Tensor

from poisonbench.attacks.pixel_adam import adam_descend, pixel_state
from poisonbench.attacks.poison_gradient import chunks, mean_gradient, pull_back
from poisonbench.bilevel.forward_mode import along
from poisonbench.bilevel.hvp import unflatten
from poisonbench.errors import DivergedError
from poisonbench.models.base import Model
from poisonbench.problem.budget import Budget
from poisonbench.problem.samples import Samples, Weights
from poisonbench.stages.stage import Stage

ROUNDS = 20

Descend = Callable[[dict[str, Tensor], Tensor, float, int], None]
"""(state, gradient, rate, step): take that step on the images of the state, in place."""


@dataclass(frozen=True)
class Residual:
    """What is left of a gradient once poison points have added theirs: ḡ + ε ∇_w L(D_p; w), at fixed weights.

    Attributes:
        model: in evaluation mode.
        w: the target, leaves.
        gradient: ḡ, (p,): what is to be canceled.
        counted: the entries that are to be canceled, (p,), 1 or 0; ḡ is 0 in all others.
        epsilon: n_poison / n_train.
    """

    model: Model
    w: Weights
    gradient: Tensor
    counted: Tensor
    epsilon: float

    def of(self, x: Tensor, y: Tensor) -> Tensor:
        """What is left with those points, (p,)."""
        return self.gradient + self.epsilon * (self.counted * mean_gradient(self.model, self.w, x, y))


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


def matching_rows(residual: Residual, rows: Samples, n: int) -> tuple[Tensor, Tensor]:
    """The rows and labels whose gradients add up to −ḡ/ε best, by matching pursuit: in each of ROUNDS rounds, those
    with the most negative inner product with what is left of that round's share.

    Args:
        residual: of ḡ.
        rows: what to choose from; a row may be taken more than once.
        n: how many.
    Returns:
        Row numbers and labels, (n,) each.
    """
    model, w, epsilon, gradient = residual.model, residual.w, residual.epsilon, residual.gradient
    classes = model.classes
    chosen: list[Tensor] = []
    labels: list[Tensor] = []
    done, total = 0, torch.zeros_like(gradient)
    for share in torch.arange(n).chunk(ROUNDS):
        due = (done + len(share)) / n
        scores = alignments(model, w, due * gradient + epsilon / n * total, rows.x)
        best = scores.flatten().topk(len(share), largest=False).indices
        row, y = best // classes, best % classes
        total += residual.counted * mean_gradient(model, w, rows.x[row], y) * len(row)
        done += len(share)
        chosen.append(row)
        labels.append(y)
    return torch.cat(chosen), torch.cat(labels)


def cancel(
    residual: Residual,
    start: Samples,
    budget: Budget,
    steps: int,
    rate: float,
    stage: Stage,
    task: str,
    descend: Descend = adam_descend,
) -> tuple[Tensor, float]:
    """Minimise ½ ‖ḡ + ε ∇_w L(D_p; w)‖² / ‖ḡ‖² over the pixels of D_p, by steps that fall to 0 along a cosine.

    With u the gradient that is left, the objective's gradient in x is that of ε ⟨u, ∇_w L(D_p; w)⟩ with u held fixed.

    Args:
        residual: of ḡ.
        start: the points and their labels.
        budget: box and radius; distances are from `start`.
        steps: their number.
        rate: the first step size: of Adam in pixels.
        stage: progress, checkpoint, deadline.
        task: the loop's name.
        descend: takes a step.
    Returns:
        The images, and the part of ḡ that is left: ‖ḡ + ε ∇_w L(D_p; w)‖ / ‖ḡ‖.
    Raises:
        DivergedError: if what is left is not finite.
    Cost: each step a gradient of the points and the gradient of one of its products.
    """
    scale = residual.gradient.norm()
    state = pixel_state(start.x)
    for step in stage.steps(task, steps, state):
        left = residual.of(state["x"], start.y)
        down = pull_back(residual.model, residual.w, left, state["x"], start.y) * (residual.epsilon / scale**2)
        descend(state, down, rate * (1 + cos(pi * step / steps)) / 2, step)
        state["x"] = budget.project(state["x"], start.x)
        stage.report(residual=_part_left(left, scale, task))
    return state["x"], _part_left(residual.of(state["x"], start.y), scale, task)


def plain_descent(residual: Residual, n_train: int) -> Descend:
    """Gradient descent as the released code takes it: on ‖Σ ∇ℓ(D_tr) + Σ ∇ℓ(D_p)‖², sums over rows, and in normalised
    inputs.

    That objective is 2 N² ‖ḡ‖² times the one of `cancel`, and a step in (x − mean) / std is std² times one in x.
    """
    model = residual.model
    factor = 2 * (n_train * residual.gradient.norm()) ** 2
    variance = residual.gradient.new_tensor(model.std)[:, None, None] ** 2

    def descend(state: dict[str, Tensor], gradient: Tensor, rate: float, step: int) -> None:
        state["x"] = state["x"] - rate * factor * variance * gradient

    return descend


def _part_left(left: Tensor, scale: Tensor, task: str) -> float:
    part = float(left.norm() / scale)
    if not isfinite(part):
        raise DivergedError(f"{task} diverged: what is left of the gradient is {part}. Lower attack.rate.")
    return part
