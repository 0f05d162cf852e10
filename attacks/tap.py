"""Adversarial poisoning: adversarial examples of a trained model, as training points.

Fowl, Goldblum, Chiang, Geiping, Czaja & Goldstein, "Adversarial Examples Make Strong Poisons", NeurIPS 2021.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from poisonbench.attacks.augmented import augmentation
from poisonbench.attacks.base import Attack
from poisonbench.attacks.pixel_sign import descend_rows, input_gradient, through
from poisonbench.errors import ConfigError
from poisonbench.models.base import Model
from poisonbench.plugins.registry import register
from poisonbench.problem.budget import Budget
from poisonbench.problem.field_checks import check_integers, check_numbers
from poisonbench.problem.samples import PoisonSet, Samples
from poisonbench.problem.threat import Mode, ThreatModel
from poisonbench.problem.views import AttackerView
from poisonbench.stages.stage import Stage

_ROWS = 512
"""At once; the released code's batch."""


@register("tap")
@dataclass(frozen=True)
class TAP(Attack):
    """Training points that the clean model takes for another class, though their labels are right.

    Points (x_i + δ_i, y_i) with ‖δ_i‖∞ ≤ ε_σ at which the trained, frozen model F_w is as wrong as can be (error
    maximisation, Lu, Kamath & Yu, equation 45), or as sure as can be of the class y_i + `shift`:

        untargeted:  max_δ Σ_i ℓ(w; x_i + δ_i, y_i),   targeted:  min_δ Σ_i ℓ(w; x_i + δ_i, (y_i + shift) mod C)

        `steps` times:  δ ← Π(δ ± rate · ε_σ · sign ∇_δ ℓ)

    A model that trains on them learns the features of one class under the label of another. The first ⌊εN⌋ points of
    D_tr are perturbed: added, they are an indiscriminate attack; in the place of their sources, unlearnable examples.

    Each step augments the images as the recipe does, if it does, with draws of its own, and goes back through the
    augmentation. δ starts as normal noise of deviation ε_σ, clipped to it. Of several starts the one that reaches the
    lowest mean objective on the images as they are is kept.

    Departures from the released code: one start, where it has eight and says that one costs potency
    (`--preset released` has them); the protocol's model, trained as the protocol has it; starts are compared without
    augmentation, where the code takes the augmented losses of each start's last pass.

    Fields:
        objective: targeted, the stronger in the paper, or untargeted.
        shift: from a class to its target.
        mode: addition adds the points, perturbation replaces their sources; the protocol's unless it is set.
        radius: ε_σ, in [0, 1] units; the protocol's, if that is smaller.
        steps: of δ a start.
        rate: size of a step as a part of ε_σ.
        restarts: how many starts.
    """

    version: ClassVar[int] = 1
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType({"released": {"restarts": 8}})
    paper = "fowl2021adversarial"
    formulation = "unlearnable, max at fixed weights"
    cost = "restarts · steps gradients of D_p; memory O(2 · D_p)"

    objective: Literal["targeted", "untargeted"] = "targeted"
    shift: int = 1
    mode: Mode = Mode.ADDITION
    radius: float = 8 / 255
    steps: int = 250
    rate: float = 0.05
    restarts: int = 1

    def __post_init__(self) -> None:
        check_integers(self, shift=1, steps=1, restarts=1)
        check_numbers(self, "in (0, 1]", "radius", "rate")

    @property
    def threat(self) -> ThreatModel:
        """The declared threat: clean-label within the radius, in either mode."""
        return ThreatModel(mode=self.mode, clean_label=True, radius=self.radius)

    def ready_for(self, model: Model) -> None:
        """See Attack.

        Raises:
            ConfigError: if a class is its own target.
        """
        if self.objective == "targeted" and self.shift % model.classes == 0:
            raise ConfigError(f"attack.shift: {self.shift} makes each of {model.classes} classes its own target.")

    def craft(self, view: AttackerView, budget: Budget, stage: Stage) -> PoisonSet:
        """See Attack."""
        self.ready_for(view.model)
        sources = torch.arange(budget.n_poison, device=stage.device)
        clean = view.train.rows(sources)
        goal = self.goal(clean, view.classes)
        state = {"images": clean.x.clone(), "best": clean.x.clone(), "objective": torch.tensor(torch.inf)}
        for index in stage.steps("tap", self.restarts * self.steps, state):
            if index % self.steps == 0:
                state["images"] = self._started(clean.x, budget, stage)
            state["images"] = self._stepped(view, state["images"], goal, budget, stage)
            if (index + 1) % self.steps == 0:
                reached = self._objective(view, state["images"], goal)
                stage.report(objective=float(reached))
                if reached < state["objective"]:
                    state["objective"], state["best"] = reached, state["images"]
        answers = view.model.predict(view.weights, state["best"]).argmax(1)
        stats = {
            "objective": float(state["objective"]),
            "fooled": float((answers != clean.y).float().mean()),
            "on_target": float((answers == self.goal(clean, view.classes).y).float().mean()),
        }
        return PoisonSet(state["best"], clean.y, sources, stats)

    def goal(self, clean: Samples, classes: int) -> Samples:
        """The rows with the labels whose loss is moved: their targets', or their own."""
        if self.objective == "untargeted":
            return clean
        return Samples(clean.x, (clean.y + self.shift) % classes, clean.ids)

    @property
    def _sign(self) -> float:
        return 1.0 if self.objective == "targeted" else -1.0

    def _started(self, x: Tensor, budget: Budget, stage: Stage) -> Tensor:
        """Images within the bound of x, (n, channels, height, width), at random."""
        width = budget.bound or self.radius
        noise = torch.randn(x.shape, generator=stage.generator).to(x)
        return budget.project(x + (width * noise).clamp(-width, width), x)

    def _stepped(self, view: AttackerView, images: Tensor, goal: Samples, budget: Budget, stage: Stage) -> Tensor:
        """The images after one step, some rows at a time."""
        alpha = self._sign * self.rate * (budget.bound or self.radius)
        augment = augmentation(view.recipe, stage.generator)

        def stepped(made: Tensor, x: Tensor, y: Tensor) -> Tensor:
            slope = through(augment, partial(input_gradient, view.model, view.weights, y=y))
            return descend_rows(slope, made, x, alpha, 1, budget)

        return torch.cat([*map(stepped, images.split(_ROWS), goal.x.split(_ROWS), goal.y.split(_ROWS))])

    def _objective(self, view: AttackerView, images: Tensor, goal: Samples) -> Tensor:
        """The mean of what is minimised, a scalar on the CPU."""
        losses = view.model.losses(view.model.predict(view.weights, images), goal.y)
        return self._sign * losses.mean().cpu()
