"""The largest loss difference max_{x, y} ℓ(θ; x, y) − ℓ(θ*; x, y) between two linear models, over points in boxes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from poisonbench.attacks.interior_point import Constraints, cross_entropy_at_most, hinge_at_most, linear_maximum
from poisonbench.attacks.linear_scores import affine, differences
from poisonbench.models.base import Model
from poisonbench.problem.samples import Weights

GAIN = 1e-3
"""Relative gain below which the convex-concave steps have converged."""

SOURCES = 4
"""Boxes that are searched, of many."""


@dataclass(frozen=True)
class LossDifference:
    """The difference ℓ(θ; x, y) − ℓ(θ*; x, y) where x may be in any of n boxes, and y any label.

    Attributes:
        model: linear, with cross entropy or Crammer and Singer's hinge.
        target: θ*.
        hinge: whether it is the hinge.
        low: the boxes' lowest corners, (n, d).
        high: their highest, (n, d).
    """

    model: Model
    target: Weights
    hinge: bool
    low: Tensor
    high: Tensor

    def bound(self, theta: Weights) -> Tensor:
        """An upper bound on the difference for every box and label, (n, C).

        Both losses are a maximum, or log Σ exp, of the margins m_j = s_j − s_y and 0, which no more than the largest
        change of a margin moves: ℓ(θ) − ℓ(θ*) ≤ max_j (m_j(θ) − m_j(θ*))₊, whose maximum over a box is at a corner.
        """
        (W, b), (V, e) = affine(self.model, theta), affine(self.model, self.target)
        c, offset = differences(W.double() - V.double()).flatten(0, 1), differences(b.double() - e.double())
        highest = self.high.double() @ c.clamp(min=0).T + self.low.double() @ c.clamp(max=0).T
        bounds: Tensor = (highest.unflatten(1, offset.shape) + offset).amax(2).clamp(min=0)
        return bounds

    def maximum(self, theta: Weights, starts: int, rounds: int = 10) -> tuple[int, Tensor, int, float]:
        """The box, the point in it, (d,), and the label of the largest difference that is found, and that difference.

        ℓ(θ) is at least each of its C − 1 pieces, the margins (1 + them for the hinge), and a linear function less the
        convex ℓ(θ*) has one maximum, which the interior point finds. For the hinge the best of them is the exact
        maximum wherever θ's loss is not 0. For cross entropy the best `starts` of every label are where convex-concave
        steps start, x ← argmax ∇ℓ(θ; x)·x − ℓ(θ*; x), whose difference never falls, because ℓ lies above its tangents.

        With many boxes, those with the largest bounds are searched.
        """
        boxes = self.bound(theta).amax(1).topk(min(SOURCES, len(self.low))).indices
        search = _Search.within(self, self.low[boxes].double(), self.high[boxes].double())
        W, b = (part.double() for part in affine(self.model, theta))
        classes, d = W.shape
        x = search.answer(differences(W).expand(len(boxes), -1, -1, -1))
        value, slope = search.rise(W, b, x)
        if not self.hinge:
            value, kept = value.topk(min(starts, classes - 1), dim=2)
            x, slope = (part.gather(2, kept[..., None].expand(-1, -1, -1, d)) for part in (x, slope))
            for _ in range(rounds):
                higher = search.answer(slope)
                there, slope_there = search.rise(W, b, higher)
                better = there > value + GAIN * value.abs()
                if not bool(better.any()):
                    break
                x, slope = (
                    torch.where(better[..., None], new, old) for new, old in ((higher, x), (slope_there, slope))
                )
                value = torch.where(better, there, value)
        best = int(value.argmax())
        box, y = divmod(best // value.shape[2], classes)
        return int(boxes[box]), x.flatten(0, 2)[best], y, float(value.flatten()[best])


@dataclass(frozen=True)
class _Search:
    """The concave problems max c·x − ℓ(θ*; x, y) over s boxes and C labels, as linear ones: the loss is a further pixel
    t ≥ ℓ(θ*; x, y), which costs 1.

    Attributes:
        difference: what they belong to.
        W: θ*'s scores on raw pixels, (C, d).
        b: (C,).
        low: (s, 1, 1, d + 1).
        high: (s, 1, 1, d + 1).
        start: strictly inside, (s, C, 1, d + 1).
        A: margins and t, (C, K, d + 1).
        a: (C, 1, K).
    """

    difference: LossDifference
    W: Tensor
    b: Tensor
    low: Tensor
    high: Tensor
    start: Tensor
    A: Tensor
    a: Tensor

    @classmethod
    def within(cls, difference: LossDifference, low: Tensor, high: Tensor) -> _Search:
        """The problems of boxes (s, d), in float64."""
        W, b = (part.double() for part in affine(difference.model, difference.target))
        A, a = differences(W), differences(b)
        if not difference.hinge:  # log(1 + Σ e^{m_j}) ≤ t is log(e^{−t} + Σ e^{m_j − t}) ≤ 0
            A, a = (torch.cat([torch.zeros_like(part[:, :1]), part], 1) for part in (A, a))
        A = torch.cat([A, -torch.ones_like(A[..., :1])], 2)
        middle = (low + high) / 2
        highest = high @ A[..., :-1].clamp(min=0).mT + low @ A[..., :-1].clamp(max=0).mT  # (C, s, K)
        top = (highest + a[:, None]).amax((0, 2)).clamp(min=0) + math.log(len(W)) + 3  # no loss comes near it
        middles = middle[:, None, None].expand(-1, len(W), 1, -1)
        loss, _ = _losses(difference.model, W, b, middles)
        start = torch.cat([middles, loss[..., None] + 1], 3)
        low, high = torch.cat([low, torch.zeros_like(low[:, :1])], 1), torch.cat([high, top[:, None]], 1)
        return cls(difference, W, b, low[:, None, None], high[:, None, None], start, A, a[:, None])

    def answer(self, c: Tensor) -> Tensor:
        """The points argmax c·x − ℓ(θ*; x, y) for directions c, (s, C, k, d)."""
        constraints: Constraints = hinge_at_most(0.0) if self.difference.hinge else cross_entropy_at_most(math.log(2))
        c = torch.cat([c, -torch.ones_like(c[..., :1])], 3)
        x = linear_maximum(c, self.A, self.a, self.low, self.high, self.start, constraints)
        return x[..., :-1]

    def rise(self, W: Tensor, b: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """The differences at points x, (s, C, k, d), and the gradients of θ's own loss there."""
        loss, slope = _losses(self.difference.model, W, b, x)
        return loss - _losses(self.difference.model, self.W, self.b, x)[0], slope


def _losses(model: Model, W: Tensor, b: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """The losses of points x, (s, C, k, d), each with the label of its place, (s, C, k), and their gradients in x."""
    logits = (x @ W.T + b).requires_grad_()
    y = torch.arange(len(W), device=x.device)[:, None].expand(x.shape[:-1])
    values = model.losses(logits.reshape(-1, len(W)), y.reshape(-1))
    (slope,) = torch.autograd.grad(values.sum(), logits)
    return values.detach().view(x.shape[:-1]), slope @ W
