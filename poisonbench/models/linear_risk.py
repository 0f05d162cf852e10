"""The regularised risk of a linear model: its gradient, and its minimum from a start that is near."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from poisonbench.errors import DivergedError
from poisonbench.models.base import Model
from poisonbench.models.smooth_hinge import raised
from poisonbench.problem.samples import Samples, Weights

CHUNK = 1024
MEMORY = 20

Parts = list[tuple[Tensor, Tensor]]
"""Normalised inputs with a 1 at their end, (rows, d + 1), and labels, at most CHUNK rows at a time."""


@dataclass(frozen=True)
class Risk:
    """The risk F(θ) = mean of ℓ(θ; x, y) over rows and points that come to them, + λ/2 ‖θ‖², θ = (W, b), (C, d + 1).

    The hinge is minimised as its smooth upper bound T log(1 + Σ_{j ≠ y} e^{(1 + s_j − s_y) / T}), which is within T log
    C of it.

    Attributes:
        model: one linear layer.
        clean: the rows; of an attack, D_tr.
        decay: λ.
        temperature: T of the hinge; None takes the model's own loss as it is.
        factor: lower triangular R, (d + 1, d + 1), with R Rᵀ = Zᵀ diag(h) Z / n + λ I, h the mean curvature of a row's
            loss in its logits at some weights: in θ R the risk is about as steep one way as another.
    """

    model: Model
    clean: Parts
    decay: float
    temperature: float | None
    factor: Tensor

    @classmethod
    def of(cls, model: Model, weights: Weights, train: Samples, decay: float, temperature: float | None) -> Risk:
        """The risk on rows, to be minimised from about these weights.

        Cost: the Gram matrix of the rows and its factor.
        """
        clean, theta = _parts(model, train.x, train.y), matrix(weights)
        gram = decay * torch.eye(theta.shape[1], dtype=theta.dtype, device=theta.device)
        for z, y in clean:
            p = torch.softmax(raised(theta @ z.T, y, temperature), 0)
            h = (p * (1 - p)).mean(0) / (temperature or 1.0)
            gram += (z * h[:, None]).T @ z / len(train)
        return cls(model, clean, decay, temperature, torch.linalg.cholesky(gram))

    def on(self, rows: Samples) -> Risk:
        """The risk on other rows, with the same factor: for a part of the rows that it came from."""
        return replace(self, clean=_parts(self.model, rows.x, rows.y))

    def minimum(self, theta: Tensor, x: Tensor, y: Tensor, tolerance: float, steps: int) -> tuple[Tensor, float]:
        """The minimiser of F on the rows and the points (x, y), by L-BFGS on θ R from θ: until no entry of its gradient
        exceeds `tolerance`, or after `steps`; and the largest entry that is left.

        Raises:
            DivergedError: if it is not finite.
        Cost: about a gradient of all rows a step.
        """
        leaf = (theta @ self.factor).requires_grad_()
        parts = self.clean + _parts(self.model, x, y)
        solver = torch.optim.LBFGS(
            [leaf],
            max_iter=steps,
            tolerance_grad=tolerance,
            tolerance_change=0.0,
            history_size=MEMORY,
            line_search_fn="strong_wolfe",
        )

        def closure() -> Tensor:
            value, slope = self.gradient(self._theta(leaf.detach()), parts)
            leaf.grad = torch.linalg.solve_triangular(self.factor.mT, slope, upper=True, left=False).contiguous()
            return value

        solver.step(closure)
        closure()
        left = float(leaf.grad.abs().max()) if leaf.grad is not None else 0.0
        if not bool(torch.isfinite(leaf).all()):
            raise DivergedError("The risk's minimiser is not finite. Raise the decay.")
        return self._theta(leaf.detach()), left

    @torch.no_grad()
    def clean_total(self, theta: Tensor) -> float:
        """The sum Σ ℓ(θ; x, y) over D_tr + |D_tr| λ/2 ‖θ‖² of the model's own loss, added up in float64."""
        n = sum(len(y) for _, y in self.clean)
        total = sum(float(self.model.losses(z @ theta.T, y).double().sum()) for z, y in self.clean)
        return total + n * self.penalty(theta)

    def penalty(self, theta: Tensor) -> float:
        """The term λ/2 ‖θ‖²."""
        return self.decay / 2 * float(theta.double().square().sum())

    def _theta(self, scaled: Tensor) -> Tensor:
        """θ from θ R."""
        theta: Tensor = torch.linalg.solve_triangular(self.factor, scaled, upper=False, left=False)
        return theta

    @torch.no_grad()
    def gradient(self, theta: Tensor, parts: Parts) -> tuple[Tensor, Tensor]:
        """F and its gradient, of θ's shape. (P − Y)ᵀ Z, with the classes in rows: see LogisticRegression."""
        n, scale = sum(len(y) for _, y in parts), self.temperature or 1.0
        value, slope = self.decay / 2 * theta.square().sum(), self.decay * theta
        for z, y in parts:
            log_p = F.log_softmax(raised(theta @ z.T, y, self.temperature), 0)
            value -= scale / n * log_p.gather(0, y[None]).sum()
            slope += log_p.exp_().scatter_add_(0, y[None], log_p.new_full((1, len(y)), -1.0)).div_(n) @ z
        return value, slope


def matrix(weights: Weights) -> Tensor:
    """θ = (W, b) of a linear layer, (C, d + 1)."""
    return torch.cat([weights["linear.weight"], weights["linear.bias"][:, None]], 1)


def layer(theta: Tensor) -> Weights:
    """The weights of a linear layer from θ."""
    return {"linear.weight": theta[:, :-1].contiguous(), "linear.bias": theta[:, -1].contiguous()}


def _parts(model: Model, x: Tensor, y: Tensor) -> Parts:
    z = model.normalise(x)
    z = torch.cat([z, torch.ones_like(z[:, :1])], 1)
    return [part for part in zip(z.split(CHUNK), y.split(CHUNK), strict=True) if len(part[1])]
