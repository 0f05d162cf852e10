"""Total gradient descent ascent: leader and follower of a Stackelberg game, all poison points at once.

Algorithm 1 of Lu, Kamath & Yu, TMLR 2022.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor

from poisonbench.attacks.base import Attack
from poisonbench.attacks.leader import Leader, leader_for
from poisonbench.bilevel.hvp import flatten
from poisonbench.bilevel.implicit import implicit_gradient
from poisonbench.bilevel.solution import Solution
from poisonbench.bilevel.solvers import NAMES, Solve, solver
from poisonbench.errors import ConfigError, DivergedError
from poisonbench.models.base import Model
from poisonbench.registry import register
from poisonbench.stage import Stage
from poisonbench.threat import ThreatModel
from poisonbench.training import Recipe, descend, minimise
from poisonbench.types import AttackerView, Budget, PoisonSet, Samples, Weights


@register("tgda")
@dataclass(frozen=True)
class TGDA(Attack):
    """Poison points D_p = L_θ(D_p⁰), where the leader ascends the total derivative of the validation loss.

        m times:  θ ← θ + α · (−∇²_θw f · (∇²_ww f)⁻¹ · ∇_w ℓ),   n times:  w ← w − β ∇_w f

    with f the mean training loss of a batch of D_tr ∪ D_p and ℓ that of a batch of D_v. L starts as an autoencoder of
    D_tr, F from the clean weights, D_p⁰ = D_tr[0 : εN]; labels are never changed. Every outer step takes one batch of
    each set; the follower's n steps stay on that batch.

    Departures from the released code, which does not run as it is: D_tr and D_v are disjoint, N = |D_tr|, L is
    pretrained and applied once. `--preset paper` is its linear solve: cgnr, 16 steps, no damping, no early stop.

    Fields:
        alpha: leader's step size α.
        beta: follower's step size β.
        m: leader's steps an outer step.
        n: follower's steps an outer step.
        epochs: passes over D_tr.
        batch_size: rows of D_tr, and of D_v, an outer step; 0 takes the recipe's.
        solver: cg, cgnr, neumann or exact.
        damping: λ of (∇²_ww f + λI)⁻¹.
        max_steps: most iterations of the solve.
        rtol: residual at which the solve stops early.
        pretrain_epochs: passes over D_tr of the autoencoder's training.
        pretrain_lr: its step size (Adam).
    """

    threat = ThreatModel(clean_label=True)
    paper = "lu2022indiscriminate"
    cost = "epochs · N / batch_size outer steps of (2 + 2 · max_steps) m + n gradients; independent of epsilon"

    presets = MappingProxyType({"paper": {"solver": "cgnr", "max_steps": 16, "damping": 0.0, "rtol": 0.0}})

    alpha: float = 0.01
    beta: float = 0.1
    m: int = 1
    n: int = 20
    epochs: int = 200
    batch_size: int = 0
    solver: str = "cg"
    damping: float = 0.01
    max_steps: int = 4
    rtol: float = 0.001
    pretrain_epochs: int = 20
    pretrain_lr: float = 0.001

    def __post_init__(self) -> None:
        if self.solver not in NAMES:
            raise ConfigError(f"attack.solver: expected one of {', '.join(NAMES)}, got {self.solver!r}.")
        for name, least in (
            ("m", 1),
            ("n", 0),
            ("epochs", 1),
            ("batch_size", 0),
            ("max_steps", 1),
            ("pretrain_epochs", 0),
        ):
            if getattr(self, name) < least:
                raise ConfigError(f"attack.{name}: expected an integer ≥ {least}, got {getattr(self, name)}.")
        for name in ("alpha", "beta", "pretrain_lr"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ConfigError(f"attack.{name}: expected a number > 0, got {getattr(self, name)}.")
        if self.damping < 0 or self.rtol < 0:
            raise ConfigError("attack.damping and attack.rtol: expected numbers ≥ 0.")

    def craft(self, view: AttackerView, budget: Budget, stage: Stage) -> PoisonSet:
        """See Attack; Algorithm 1."""
        leader = leader_for(view.model.shape, view.classes)
        start = view.train.rows(torch.arange(budget.n_poison, device=stage.device))
        theta = self._pretrain(leader, view, stage)
        theta, evidence = self._play(leader, theta, start, view, stage)
        x = leader.images(theta, leader.inputs(start)).detach()
        return PoisonSet(x, start.y.clone(), torch.arange(budget.n_poison, device=stage.device), evidence)

    def _pretrain(self, leader: Leader, view: AttackerView, stage: Stage) -> Weights:
        """θ_pre: reconstruct D_tr from image and label."""
        theta = {name: value.to(stage.device) for name, value in leader.init(stage.generator).items()}
        recipe = Recipe("adam", lr=self.pretrain_lr, batch_size=view.recipe.batch_size, epochs=self.pretrain_epochs)

        inputs, images = leader.inputs(view.train), view.train.x

        def reconstruction(theta: Weights, rows: Tensor) -> tuple[Tensor, list[Tensor]]:
            made = leader.images(theta, inputs.index_select(0, rows))
            error = F.mse_loss(made, images.index_select(0, rows))
            return error.detach(), list(torch.autograd.grad(error, [theta[name] for name in sorted(theta)]))

        if self.pretrain_epochs == 0:
            return theta
        return minimise(reconstruction, theta, frozenset(), len(view.train), recipe, stage, "pretrain leader")

    def _play(
        self, leader: Leader, theta: Weights, start: Samples, view: AttackerView, stage: Stage
    ) -> tuple[Weights, dict[str, float]]:
        """The game: epochs · ⌈N / batch⌉ outer steps from (θ_pre, w_pre)."""
        model, size = view.model, self.batch_size or view.recipe.batch_size
        batches = math.ceil(len(view.train) / size)
        inputs = leader.inputs(start)
        z_train, z_validation = model.normalise(view.train.x), model.normalise(view.validation.x)
        solve = solver(self.solver, self.damping, self.max_steps, self.rtol)
        sizes = {"order/train": len(view.train), "order/validation": len(view.validation), "order/poison": len(start)}

        state = {f"leader/{name}": value.clone() for name, value in theta.items()}
        state |= {f"follower/{name}": value.clone() for name, value in view.weights.items()}
        state |= {name: torch.arange(n) for name, n in sizes.items()}
        state["evidence"] = torch.zeros(3, dtype=torch.float64)
        share = max(1, round(len(start) / batches))
        z = z_train.new_empty(size + share, *z_train.shape[1:])
        for step in stage.steps("tgda", self.epochs * batches, state):
            index = step % batches
            if index == 0:
                state |= {name: torch.randperm(n, generator=stage.generator) for name, n in sizes.items()}
            leader_weights = {name: state[f"leader/{name}"].requires_grad_() for name in theta}
            w = {name: state[f"follower/{name}"].requires_grad_(name not in model.buffers) for name in view.weights}
            train = _batch(state["order/train"], index, size).to(stage.device)
            validation = _batch(state["order/validation"], index, size).to(stage.device)
            poison = _batch(state["order/poison"], index, share).to(stage.device)
            torch.index_select(z_train, 0, train, out=z[:size])
            y = torch.cat([view.train.y[train], start.y[poison]])
            z_held_out, y_held_out = z_validation.index_select(0, validation), view.validation.y[validation]

            for _ in range(self.m):
                z_poison = model.normalise(leader.images(leader_weights, inputs[poison]))
                z[size:] = z_poison.detach()
                loss_v, outer = model.gradient(w, z_held_out, y_held_out)
                ascent, solution = total_gradient(model, w, leader_weights, z, y, z_poison, flatten(outer), solve)
                descend(list(leader_weights.values()), ascent, -self.alpha)
            with torch.no_grad():
                z[size:] = model.normalise(leader.images(leader_weights, inputs[poison]))
            for _ in range(self.n):
                _, gradients = model.gradient(w, z, y)
                descend(list(model.parameters(w).values()), gradients, self.beta)

            state["evidence"] = torch.tensor(
                [solution.steps, solution.residual, solution.converged], dtype=torch.float64
            )
            stage.report(validation_loss=float(loss_v), residual=solution.residual)
            if not (math.isfinite(float(loss_v)) and math.isfinite(solution.residual)):
                raise DivergedError(
                    f"tgda diverged: validation loss {float(loss_v)} at step {step + 1}. "
                    f"Lower attack.alpha or attack.beta, or raise attack.damping."
                )
        steps, residual, converged = state["evidence"].tolist()
        evidence = {"solver_steps": int(steps), "solver_residual": residual, "solver_converged": bool(converged)}
        return {name: state[f"leader/{name}"].detach() for name in theta}, evidence


def total_gradient(
    model: Model, w: Weights, theta: Weights, z: Tensor, y: Tensor, z_poison: Tensor, outer: Tensor, solve: Solve
) -> tuple[list[Tensor], Solution]:
    """D_θ ℓ = −∇²_θw f · (∇²_ww f)⁻¹ · ∇_w ℓ on one batch.

    The Hessian is that of the whole batch, with the poison rows as numbers; the mixed derivative needs the poison rows
    alone, since the clean ones do not depend on θ.

    Args:
        model: the follower.
        w: its weights, leaves.
        theta: the leader's weights, leaves.
        z: normalised rows of the batch, the poison rows last.
        y: their labels.
        z_poison: the poison rows again, with a graph that reaches `theta`.
        outer: ∇_w ℓ, (p,).
        solve: the linear solver.
    Returns:
        The total derivative, one tensor for each of `theta`, and the solve's evidence.
    """
    H = model.hessian(w, z, y)
    y_poison = y[len(y) - len(z_poison) :]
    part = model.losses(model.forward(w, z_poison, training=True), y_poison).sum() / len(z)
    return implicit_gradient(part, list(model.parameters(w).values()), list(theta.values()), H, outer, solve)


def _batch(order: Tensor, index: int, size: int) -> Tensor:
    """The index-th batch of an order of rows that is gone round as often as needed: every batch is full."""
    return order[torch.arange(index * size, (index + 1) * size) % len(order)]
