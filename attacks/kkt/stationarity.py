"""What is left of the stationarity condition of target parameters when distinct points with shares come to D_tr."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from poisonbench.models.base import Model
from poisonbench.models.smooth_hinge import raised
from poisonbench.problem.samples import Samples


@dataclass(frozen=True)
class Stationarity:
    """The residual R = g + ε Σ_k a_k ∇ℓ(x_k, y_k; θ*), g = ∇L(D_tr; θ*) + (1 + ε) λ θ*, with shares a_k ≥ 0 that add
    up to 1: θ* is where the risk of D_tr ∪ D_p is least if, and the risk being convex only if, R = 0.

    For a linear model ∇ℓ = (p(x) − e_y) (z, 1)ᵀ, z the normalised pixels, p the softmax of the scores, or of those that
    the hinge's smooth bound raises (smooth_hinge.py).

    Attributes:
        model: one linear layer.
        theta: θ*, (C, d + 1).
        gradient: g, (C, d + 1).
        epsilon: ε.
        temperature: T of the hinge's bound; None for cross entropy.
    """

    model: Model
    theta: Tensor
    gradient: Tensor
    epsilon: float
    temperature: float | None

    def atoms(self, x: Tensor, y: Tensor) -> Tensor:
        """The gradients ∇ℓ(x_k, y_k; θ*), (k, C, d + 1)."""
        z = self._inputs(x)
        products: Tensor = self._slopes(z, y)[:, :, None] * z[:, None]
        return products

    def residual(self, x: Tensor, y: Tensor, shares: Tensor) -> Tensor:
        """R for s vectors of shares, (s, k), over s · k points that lie one after the other: (s, C, d + 1)."""
        z = self._inputs(x)
        weighted = self._slopes(z, y) * shares.flatten()[:, None]
        mixed = weighted.unflatten(0, shares.shape).mT @ z.unflatten(0, shares.shape)
        left: Tensor = self.gradient + self.epsilon * mixed
        return left

    def part_left(self, x: Tensor, y: Tensor, shares: Tensor) -> Tensor:
        """The parts ‖R‖ / ‖g‖, (s,)."""
        part: Tensor = self.residual(x, y, shares).flatten(1).norm(dim=1) / self.gradient.norm()
        return part

    def descent(self, x: Tensor, y: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
        """The objectives ½ ‖R‖² / ‖g‖², (s,), and the gradient of each in its own points, of x's shape."""
        x = x.detach().requires_grad_()
        values = self.part_left(x, y, shares).square() / 2
        (slope,) = torch.autograd.grad(values.sum(), x)
        return values.detach(), slope

    def alignments(self, rows: Samples) -> Tensor:
        """The products ⟨g, ∇ℓ(x_i, y; θ*)⟩ for every row and every label y, (n, C): those far below 0 cancel most."""
        z = self._inputs(rows.x)
        pull = z @ self.gradient.T
        labels = [torch.full_like(rows.y, label) for label in range(len(self.theta))]
        return torch.stack([(self._slopes(z, y) * pull).sum(1) for y in labels], 1)

    def _inputs(self, x: Tensor) -> Tensor:
        z = self.model.normalise(x)
        return torch.cat([z, torch.ones_like(z[:, :1])], 1)

    def _slopes(self, z: Tensor, y: Tensor) -> Tensor:
        """The vectors p − e_y, (n, C)."""
        p = torch.softmax(raised(self.theta @ z.T, y, self.temperature), 0).T
        return p - torch.nn.functional.one_hot(y, len(self.theta))
