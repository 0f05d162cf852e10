"""The game of TGDA on batches: what the leader does in one outer step, through the follower's response."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from poisonbench.attacks.tgda.batches import Batch
from poisonbench.attacks.tgda.leader import Leader
from poisonbench.bilevel.hvp import Operator, flatten, unflatten
from poisonbench.bilevel.implicit import implicit_gradient, implicit_response
from poisonbench.bilevel.solution import Solution
from poisonbench.bilevel.solvers import Solve
from poisonbench.models.base import Model
from poisonbench.problem.budget import Budget
from poisonbench.problem.samples import Samples, Weights
from poisonbench.training import descend


@dataclass(frozen=True)
class Stackelberg:
    """The leader's side of the game: it makes the poison and knows how a follower at its minimum responds.

    Attributes:
        model: the follower F.
        leader: L.
        budget: box and radius of what L makes.
        solve: (∇²_ww f + λI)⁻¹.
        alpha: the leader's step size α.
        zero_sum: ℓ = f, else ℓ is the validation loss.
        ridge: whether the follower is moved along with the leader, so that it stays at its minimum to first order
            (follow the ridge, the paper's Appendix C).
    """

    model: Model
    leader: Leader
    budget: Budget
    solve: Solve
    alpha: float
    zero_sum: bool
    ridge: bool

    def images(self, theta: Weights, start: Samples) -> Tensor:
        """The images that L makes of those rows, inside box and radius."""
        return self.budget.project(self.leader.images(theta, self.leader.inputs(start)), start.x)

    def lead(self, theta: Weights, w: Weights, batch: Batch) -> tuple[float, Solution]:
        """Take θ ← θ + α D_θ ℓ, in place; w follows the ridge if it is to. Returns ℓ and the solve's evidence."""
        parameters, upper = list(self.model.parameters(w).values()), list(theta.values())
        made = self.model.normalise(self.images(theta, batch.start))
        self._write(made.detach(), batch)
        part = poison_loss(self.model, w, made, batch)
        H = self.model.hessian(w, batch.z, batch.y)
        if self.zero_sum:
            loss, outer = self.model.gradient(w, batch.z, batch.y)
        else:
            loss, outer = self.model.gradient(w, batch.held_out_z, batch.held_out_y)
        ascent, solution = total_gradient(part, parameters, upper, H, flatten(outer), self.solve, self.zero_sum)
        if self.ridge:
            part = poison_loss(self.model, w, self.model.normalise(self.images(theta, batch.start)), batch)
            along, _ = implicit_response(part, parameters, upper, H, ascent, self.solve)
            descend(parameters, unflatten(along, parameters), -self.alpha)
        descend(upper, ascent, -self.alpha)
        return float(loss), solution

    @torch.no_grad()
    def show(self, theta: Weights, batch: Batch) -> None:
        """Write the images that L makes now into the batch."""
        self._write(self.model.normalise(self.images(theta, batch.start)), batch)

    @staticmethod
    def _write(made: Tensor, batch: Batch) -> None:
        batch.z[len(batch.z) - len(made) :] = made


def poison_loss(model: Model, w: Weights, made: Tensor, batch: Batch) -> Tensor:
    """The part of the batch's mean loss f that depends on θ: that of its poison rows, with a graph that reaches θ."""
    y = batch.y[len(batch.y) - len(made) :]
    return model.losses(model.forward(w, made, training=True), y).sum() / len(batch.y)


def total_gradient(
    part: Tensor, w: list[Tensor], theta: list[Tensor], H: Operator, outer: Tensor, solve: Solve, zero_sum: bool
) -> tuple[list[Tensor], Solution]:
    """The total gradient D_θ ℓ = ∇_θ ℓ − ∇²_θw f · (∇²_ww f)⁻¹ · ∇_w ℓ on one batch; ∇_θ ℓ is 0 unless ℓ = f.

    The Hessian is that of the whole batch, with the poison rows as numbers; derivatives in θ need the poison rows
    alone, since the clean ones do not depend on it.

    Args:
        part: what `poison_loss` gives.
        w: the follower's parameters, leaves.
        theta: the leader's, leaves.
        H: ∇²_ww f of the batch.
        outer: ∇_w ℓ, (p,).
        solve: the linear solver.
        zero_sum: whether ℓ = f.
    Returns:
        The total derivative, one tensor for each of `theta`, and the solve's evidence.
    """
    direct = torch.autograd.grad(part, theta, retain_graph=True) if zero_sum else None
    indirect, solution = implicit_gradient(part, w, theta, H, outer, solve)
    if direct is None:
        return indirect, solution
    return [own + through for own, through in zip(direct, indirect, strict=True)], solution
