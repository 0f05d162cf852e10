"""The inner maximum max_x ℓ_θ(x, y): the attacker's best answers to one model, for all sources and labels at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from poisonbench.attacks.linear_scores import affine, differences
from poisonbench.models.base import Model
from poisonbench.problem.samples import Weights

LinearMaximum = Callable[[Tensor], Tensor]
"""c ↦ argmax_{x ∈ F} c·x for directions c, (s, C, k, d): k of them for each of s sources and C labels. F may depend on
source and label."""

GAIN = 1e-4
"""Relative gain below which an ascent has converged."""


def convex_maximum(
    model: Model, weights: Weights, maximum: LinearMaximum, sources: int, starts: int, rounds: int = 20
) -> tuple[Tensor, Tensor]:
    """For each source and label, a maximiser of a linear model's loss, which is convex in x.

    The C − 1 pairwise problems max_x s_j(x) − s_y(x) are linear: the best of them is the exact maximum of Crammer and
    Singer's hinge. For cross entropy the best `starts` of them start x ← argmax_F ∇ℓ(x)·x, whose loss never falls,
    because ℓ lies above its tangents; it ends in a local maximum, at an extreme point of F.

    Returns:
        x, (s, C, d), and ℓ, (s, C).
    """
    W, b = affine(model, weights)
    classes, d = W.shape

    def losses(x: Tensor) -> tuple[Tensor, Tensor]:
        logits = (x @ W.T + b).requires_grad_()
        y = torch.arange(classes, device=x.device)[:, None].expand(x.shape[:-1])
        values = model.losses(logits.reshape(-1, classes), y.reshape(-1))
        (slope,) = torch.autograd.grad(values.sum(), logits)
        return values.detach().view(x.shape[:-1]), slope @ W

    x = maximum(differences(W).expand(sources, -1, -1, -1))
    loss, slope = losses(x)
    loss, kept = loss.topk(min(starts, classes - 1), dim=2)
    x, slope = (part.gather(2, kept[..., None].expand(-1, -1, -1, d)) for part in (x, slope))
    for _ in range(rounds):
        higher = maximum(slope)
        loss_there, slope_there = losses(higher)
        better = loss_there > loss + GAIN * loss.abs()
        if not bool(better.any()):
            break
        x, slope = (torch.where(better[..., None], new, old) for new, old in ((higher, x), (slope_there, slope)))
        loss = torch.where(better, loss_there, loss)
    loss, best = loss.max(2)
    return x.gather(2, best[..., None, None].expand(-1, -1, 1, d)).squeeze(2), loss


def ascend(
    objective: Callable[[Tensor], Tensor], x: Tensor, low: Tensor, high: Tensor, steps: int, rate: float
) -> Tensor:
    """The best iterate of each row, (n, …), in projected sign-gradient ascent within [low, high].

    The step is `rate` of each pixel's range, and shrinks linearly to none.

    Args:
        objective: x ↦ values, (n,), each of its own row.
    """
    best, best_value = x, x.new_full((len(x),), float("-inf"))
    for step in range(steps + 1):
        leaf = x.detach().requires_grad_()
        values = objective(leaf)
        (slope,) = torch.autograd.grad(values.sum(), leaf)
        better = values.detach() > best_value
        best = torch.where(better.view(-1, *[1] * (x.dim() - 1)), x, best)
        best_value = torch.where(better, values.detach(), best_value)
        x = x + rate * (1 - step / (steps + 1)) * (high - low) * slope.sign()
        x = torch.minimum(torch.maximum(x, low), high)
    return best
