"""The online game of Steinhardt, Koh & Liang: a model descends while the attacker answers each of its iterates."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from poisonbench.attacks.base import Attack
from poisonbench.attacks.min_max.feasible_set import Limits, box_limits, observed_limits
from poisonbench.errors import DivergedError
from poisonbench.problem.budget import Budget
from poisonbench.problem.field_checks import check_integers, check_numbers
from poisonbench.problem.samples import Weights
from poisonbench.problem.views import AttackerView
from poisonbench.stages.stage import Stage

Answer = Callable[[Weights, Tensor], tuple[Tensor, Tensor]]
"""(θ, slots) ↦ the points that θ likes least, one a slot of the poison set: images and labels."""


@dataclass(frozen=True)
class SaddleAttack(Attack):
    """The saddle point min_θ L(θ; D_tr) + ε max_{(x, y) ∈ F} ℓ_θ(x, y) + λ/2 ‖θ‖² by AdaGrad on subgradients; λ is the
    recipe's weight_decay, and θ starts at the clean weights, as in the released code.

    Fields:
        steps: iterates θ whose answers are kept; 0 takes one for `copies` points. The n_poison points are spread evenly
            over them: each is the answer to an iterate drawn from its own n-th part of them, since answers run in
            cycles that a fixed stride could keep step with.
        burn_in: iterates before those, as a multiple of their number, whose answers are discarded.
        eta: AdaGrad's step size η.
        copies: points for each iterate where `steps` is 0.
        pixels: the values that F allows a pixel: `box` is [0, 1], `observed` lies between the smallest and the largest
            that this pixel has in D_tr and D_v.
    """

    later_fields: ClassVar[frozenset[str]] = frozenset({"copies", "pixels"})

    steps: int = 200
    burn_in: float = 1.0
    eta: float = 0.03
    copies: int = 1
    pixels: Literal["box", "observed"] = "box"

    def __post_init__(self) -> None:
        check_integers(self, steps=0, copies=1)
        check_numbers(self, "> 0", "eta")
        check_numbers(self, "≥ 0", "burn_in")

    def limits(self, view: AttackerView) -> Limits:
        """What F allows each pixel, whatever the source; see `pixels`."""
        return box_limits(view.train.x) if self.pixels == "box" else observed_limits(view.train, view.validation)

    def play(
        self, view: AttackerView, budget: Budget, answer: Answer, stage: Stage, task: str
    ) -> tuple[Tensor, Tensor, float]:
        """Play the game, and return its points. A linear model's clean gradient is that of all of D_tr; a network's, of
        one batch of the recipe. The points are met in evaluation mode: those of one iterate, often copies of one point,
        have no batch statistics worth the name.

        Returns:
            The points, (n_poison, …), their labels, and the smallest value of the objective over the iterates.
        """
        model, n, decay = view.model, budget.n_poison, view.recipe.weight_decay
        z, y = model.normalise(view.train.x), view.train.y
        epsilon = n / len(y)
        kept = self.steps or math.ceil(n / self.copies)
        burn_in = round(self.burn_in * kept)
        moments = ((torch.arange(n) + torch.rand(n, generator=stage.generator)) * kept / n).long()

        names = list(model.parameters(view.weights))
        state = {f"theta/{name}": value.clone() for name, value in view.weights.items()}
        state |= {f"squares/{name}": torch.zeros_like(view.weights[name]) for name in names}
        state |= {"x": view.train.x.new_zeros((n, *model.shape)), "y": y.new_zeros(n)}
        state["value"] = torch.full((), math.inf, dtype=torch.float64)
        for step in stage.steps(task, burn_in + kept, state):
            theta = {name: state[f"theta/{name}"].requires_grad_(name in names) for name in view.weights}
            parameters = [theta[name] for name in names]
            slots, filled = slots_at(moments, step % kept)
            slots = slots.to(stage.device)
            x_p, y_p = answer({name: part.detach() for name, part in theta.items()}, slots)

            if model.linear:
                loss, gradients = model.gradient(theta, z, y)
            else:
                rows = torch.randperm(len(y), generator=stage.generator)[: view.recipe.batch_size].to(stage.device)
                loss, gradients = model.gradient(theta, z[rows], y[rows])
            loss_p = model.loss(model.forward(theta, model.normalise(x_p)), y_p)
            gradients_p = torch.autograd.grad(loss_p, parameters)
            squared = sum(float(part.detach().square().sum()) for part in parameters)
            value = float(loss) + epsilon * float(loss_p.detach()) + decay / 2 * squared
            if not math.isfinite(value):
                raise DivergedError(f"{task} diverged: loss {value} at step {step + 1}. Lower attack.eta.")

            with torch.no_grad():
                for name, part, clean, poison in zip(names, parameters, gradients, gradients_p, strict=True):
                    slope = clean + epsilon * poison + decay * part
                    squares = state[f"squares/{name}"].addcmul_(slope, slope)
                    part.addcdiv_(slope, squares.sqrt().add_(1e-10), value=-self.eta)
            for name in names:
                state[f"theta/{name}"] = theta[name].detach()
            state["value"] = state["value"].clamp(max=value)
            if step >= burn_in and filled:
                state["x"][slots[:filled]], state["y"][slots[:filled]] = x_p[:filled], y_p[:filled]
            stage.report(loss=value)
        return state["x"], state["y"], float(state["value"])


def slots_at(moments: Tensor, step: int) -> tuple[Tensor, int]:
    """The slots of D_p that an iterate answers for, at least one, and how many of them it fills: those whose moment it
    is."""
    start, end = torch.searchsorted(moments, torch.tensor([step, step + 1])).tolist()
    slots = torch.arange(start, max(end, start + 1)).clamp(max=len(moments) - 1)
    return slots, end - start
