"""The lower problem of the influence attack: its minimum, and how that follows the pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from poisonbench.attacks.poison_gradient import mean_gradient, pull_back
from poisonbench.bilevel.hvp import flatten, unflatten
from poisonbench.bilevel.implicit import implicit_gradient
from poisonbench.bilevel.solution import Solution
from poisonbench.bilevel.solvers import Solve
from poisonbench.models.base import Model
from poisonbench.models.curvature import Curvature
from poisonbench.problem.samples import Samples, Weights

CHUNK = 1024


@dataclass(frozen=True)
class LowerProblem:
    """Minimise f(w) = L(D_tr ∪ D_p; w) + (λ / 2) ‖w − w₀‖², L the mean loss in evaluation mode.

    Attributes:
        model: the model.
        z: D_tr, normalised.
        train: D_tr.
        decay: λ.
        origin: w₀, (p,).
    """

    model: Model
    z: Tensor
    train: Samples
    decay: float
    origin: Tensor

    def solved(self, poison: Samples, start: Weights, steps: int) -> tuple[Weights, float]:
        """The weights after at most so many steps of L-BFGS on f from `start`, and ‖∇f‖ there. Buffers stay.

        Cost: about 1.25 gradients of all rows a step.
        """
        model, like = self.model, list(self.model.parameters(start).values())
        parts = [*_chunks(self.z, self.train.y), *_chunks(model.normalise(poison.x), poison.y)]
        n = len(self.train) + len(poison)
        leaf = flatten(like).detach().clone().requires_grad_()
        solver = torch.optim.LBFGS(
            [leaf], max_iter=steps, history_size=20, line_search_fn="strong_wolfe", tolerance_grad=1e-9,
            tolerance_change=1e-12,
        )  # fmt: skip

        def closure() -> Tensor:
            flat = leaf.detach()
            weights = self._with(start, unflatten(flat, like))
            away = flat - self.origin
            value, slope = self.decay / 2 * away.square().sum(), self.decay * away
            for z, y in parts:
                loss, gradient = self._gradient(weights, z, y)
                value, slope = value + loss * (len(y) / n), slope + flatten(gradient) * (len(y) / n)
            leaf.grad = slope
            return value

        solver.step(closure)
        closure()
        assert leaf.grad is not None
        weights = self._with(start, unflatten(leaf.detach(), like))
        return {name: value.detach() for name, value in weights.items()}, float(leaf.grad.norm())

    def ascent(
        self, poison: Samples, w: Weights, held_out: Samples, rows: int, solve: Solve, start: Tensor
    ) -> tuple[Tensor, Solution]:
        """The gradient ∇_x L(held_out; w*(x)) in the images of D_p, by the implicit function theorem at w ≈ w*, and the
        solve's evidence.

        With H = ∇²f, or its Gauss–Newton part for networks, which no negative curvature spoils:

            ∇_{x_i} = −1/(N + n) · ∇_x ⟨H⁻¹ ∇L(held_out; w), ∇_w ℓ(w; x_i, y_i)⟩

        Args:
            poison: D_p.
            w: weights.
            held_out: rows whose loss is to rise.
            rows: of D_tr that H looks at, with as large a part of D_p; 0 takes all.
            solve: a solver of (H + λI) v = b, λ the decay.
            start: where it starts, (p,).
        """
        leaves = self._with(w, list(self.model.parameters(w).values()))
        seen = self.train.plus(poison)
        if 0 < rows < len(self.train):
            part = max(1, round(len(poison) * rows / len(self.train)))
            seen = self.train.rows(slice(rows)).plus(poison.rows(slice(part)))
        H = Curvature(self.model, w, seen, "gauss-newton")
        share = len(poison) / (len(self.train) + len(poison))

        def mixed(v: Tensor) -> list[Tensor]:
            return [share * pull_back(self.model, leaves, v, poison.x, poison.y)]

        outer = mean_gradient(self.model, leaves, held_out.x, held_out.y)
        (slope,), solution = implicit_gradient(mixed, H, outer, solve, start)
        return slope, solution

    def _gradient(self, weights: Weights, z: Tensor, y: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        if self.model.linear:
            return self.model.gradient(weights, z, y)
        loss = self.model.loss(self.model.forward(weights, z), y)
        return loss.detach(), torch.autograd.grad(loss, list(self.model.parameters(weights).values()))

    def _with(self, weights: Weights, parameters: Sequence[Tensor]) -> Weights:
        """The weights with those parameters, as leaves."""
        leaves = (part.detach().requires_grad_() for part in parameters)
        buffers = {name: weights[name] for name in self.model.buffers if name in weights}
        return dict(zip(self.model.parameters(weights), leaves, strict=True)) | buffers


def _chunks(z: Tensor, y: Tensor) -> list[tuple[Tensor, Tensor]]:
    return list(zip(z.split(CHUNK), y.split(CHUNK), strict=True))
