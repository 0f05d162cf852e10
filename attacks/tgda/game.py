"""The game of TGDA on batches: what the leader does in one outer step, through the follower's response."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from poisonbench.attacks.tgda.batches import Batch
from poisonbench.attacks.tgda.leader import Leader
from poisonbench.attacks.tgda.past import Past
from poisonbench.bilevel.hvp import Operator, flatten, mixed_product, unflatten
from poisonbench.bilevel.implicit import implicit_gradient, implicit_response
from poisonbench.bilevel.solution import Solution
from poisonbench.bilevel.solvers import Solve
from poisonbench.models.base import Model
from poisonbench.problem.budget import Budget
from poisonbench.problem.samples import Weights
from poisonbench.training import descend

Curvature = Literal["gauss-newton", "hessian"]

_SHORTENINGS, _SLACK = 6, 1.05
"""How often a step is shortened at most, and by which factor it may be too long."""


@dataclass(frozen=True)
class Stackelberg:
    """The leader's side of the game: it makes the poison and knows how a follower at its minimum responds.

    Attributes:
        model: the follower F.
        leader: L.
        budget: box and radius of what L makes.
        curvature: what stands for ∇²_ww f.
        solve: (∇²_ww f + λI)⁻¹.
        alpha: the leader's step size α.
        max_move: how far one step may move the batch's poison, root mean square over pixels; a longer one is shortened.
        averaging: weight of the steps before in the mean of ∇_w ℓ, whose solve goes on from the last solution; 0 takes
            each step's own and solves from 0.
        zero_sum: ℓ = f, else ℓ is the validation loss.
        ridge: whether the follower is moved along with the leader, so that it stays at its minimum to first order
            (follow the ridge, the paper's Appendix C).
    """

    model: Model
    leader: Leader
    budget: Budget
    curvature: Curvature
    solve: Solve
    alpha: float
    max_move: float | None
    averaging: float
    zero_sum: bool
    ridge: bool

    def images(self, theta: Weights, inputs: Tensor, start: Tensor) -> Tensor:
        """The images that L makes of its inputs, inside the box and within the radius of the images `start`."""
        return self.budget.project(self.leader.images(theta, inputs), start)

    def operator(self, w: Weights, batch: Batch) -> Operator:
        """∇²_ww f of the batch, or what stands for it."""
        if self.curvature == "hessian":
            return self.model.hessian(w, batch.z, batch.y)
        return self.model.gauss_newton(w, batch.z, batch.y)

    def newton(self, w: Weights, batch: Batch, direction: Tensor) -> Tensor:
        """The step (∇²_ww f + λI)⁻¹ · direction, (p,)."""
        return self.solve(self.operator(w, batch), direction).x

    def lead(self, theta: Weights, w: Weights, batch: Batch, past: Past) -> tuple[float, Solution]:
        """Take θ ← θ + α D_θ ℓ, in place, as is what is kept of the past; w follows the ridge if it is to. Returns ℓ
        and the solve's evidence."""
        upper = list(theta.values())
        images = self.images(theta, batch.inputs, batch.start)
        made = self.model.normalise(batch.augment(images))
        batch.write(made.detach())
        H = self.operator(w, batch)
        if self.zero_sum:
            loss, outer = self.model.gradient(w, batch.z, batch.y)
        else:
            loss, outer = self.model.gradient(w, batch.held_out_z, batch.held_out_y)
        goal, start = flatten(outer), None
        if self.averaging:
            goal, start = past.mean_outer(goal, self.averaging), past.solution
        along, solution = total_gradient(self.model, w, batch, H, goal, self.solve, self.zero_sum, start)
        past.solution.copy_(solution.x)
        # The product's sum, not `grad_outputs`: at its first use PyTorch imports half a second of symbolic algebra.
        ascent = torch.autograd.grad((made * along).sum(), upper)
        rate = self.rate(theta, ascent, images.detach(), batch)
        if self.ridge:
            part = poison_loss(self.model, w, self._made(theta, batch), batch)
            parameters = list(self.model.parameters(w).values())
            answer, _ = implicit_response(part, parameters, upper, H, ascent, self.solve)
            descend(parameters, unflatten(answer, parameters), -rate)
        descend(upper, list(ascent), -rate)
        return float(loss), solution

    @torch.no_grad()
    def rate(self, theta: Weights, ascent: Sequence[Tensor], images: Tensor, batch: Batch) -> float:
        """The step size: α, or less, so that the images stay within `max_move` of where they are. L saturates, so a
        long step moves them less than it promises: it is shortened until a shortening by the ratio holds."""
        rate = self.alpha
        if self.max_move is None:
            return rate
        for _ in range(_SHORTENINGS):
            tried = {name: part + rate * up for (name, part), up in zip(theta.items(), ascent, strict=True)}
            moved = float((self.images(tried, batch.inputs, batch.start) - images).square().mean().sqrt())
            if not moved > _SLACK * self.max_move:
                break
            rate *= self.max_move / moved
        return rate

    @torch.no_grad()
    def show(self, theta: Weights, batch: Batch) -> None:
        """Write the images that L makes now into the batch."""
        batch.write(self._made(theta, batch))

    def _made(self, theta: Weights, batch: Batch) -> Tensor:
        return self.model.normalise(batch.augment(self.images(theta, batch.inputs, batch.start)))


def poison_loss(model: Model, w: Weights, made: Tensor, batch: Batch) -> Tensor:
    """The part of the batch's mean loss f that depends on θ: that of its poison rows `made`, normalised; all of f where
    batch statistics, which they share in, make every row's loss depend on them."""
    if model.buffers:
        clean = batch.z[: len(batch.z) - len(made)]
        return model.loss(model.forward(w, torch.cat([clean, made]), training=True), batch.y)
    return model.losses(model.forward(w, made, training=True), batch.poison_y).sum() / len(batch.y)


def total_gradient(
    model: Model,
    w: Weights,
    batch: Batch,
    H: Operator,
    outer: Tensor,
    solve: Solve,
    zero_sum: bool,
    start: Tensor | None = None,
) -> tuple[Tensor, Solution]:
    """The total gradient D_z ℓ = ∇_z ℓ − ∇²_zw f · (∇²_ww f)⁻¹ · ∇_w ℓ in the poison rows z of one batch; ∇_z ℓ is 0
    unless ℓ = f. What L makes of it is a product with its Jacobian.

    The Hessian is that of the whole batch; so is f in the derivatives in z of a model with batch statistics, whose
    clean rows are normalised by z too. Those of other models need the poison rows alone.

    Args:
        model: F.
        w: its weights; parameters are leaves.
        batch: with L's images in it.
        H: ∇²_ww f of the batch.
        outer: ∇_w ℓ, (p,).
        solve: the linear solver.
        zero_sum: whether ℓ = f.
        start: where the solver starts, or None for 0.
    Returns:
        The total gradient, of the shape of z, and the solve's evidence.
    """
    z, n = batch.poison_z, len(batch.y)

    def mixed(v: Tensor) -> list[Tensor]:
        if not model.buffers:
            return [model.mixed_gradient(w, z, batch.poison_y, v) / n]
        made = z.detach().requires_grad_()
        return mixed_product(poison_loss(model, w, made, batch), list(model.parameters(w).values()), [made], v)

    (along,), solution = implicit_gradient(mixed, H, outer, solve, start)
    if zero_sum:
        z = z.detach().requires_grad_()
        along = along + torch.autograd.grad(poison_loss(model, w, z, batch), z)[0]
    return along, solution
