"""Robust error-minimising noise: training points whose loss stays small under augmentation and adversarial training.

Fu, He, Liu, Shen & Tao, "Robust Unlearnable Examples: Protecting Data Privacy Against Adversarial Learning", ICLR 2022.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor

from poisonbench.attacks.augmented import augmentation
from poisonbench.attacks.base import Attack
from poisonbench.attacks.learner import Learner
from poisonbench.attacks.pixel_sign import Transform, descend_rows, input_gradient, through
from poisonbench.errors import DivergedError
from poisonbench.models.base import Model
from poisonbench.plugins.registry import register
from poisonbench.problem.budget import Budget
from poisonbench.problem.field_checks import check_integers, check_numbers
from poisonbench.problem.samples import PoisonSet, Samples, Weights
from poisonbench.problem.threat import Mode, ThreatModel
from poisonbench.problem.views import AttackerView
from poisonbench.stages.stage import Stage


@register("rem")
@dataclass(frozen=True)
class REM(Attack):
    """Training points with bounded noise that makes their training loss small even in adversarial training.

    Points (x_i + δᵘ_i, y_i) with ‖δᵘ_i‖∞ ≤ ρᵘ that solve, with ‖δᵃ_i‖∞ ≤ ρᵃ and t drawn from the recipe's augmentation
    (Lu, Kamath & Yu, equation 44; the expectation over t is Fu et al.'s),

        min_w min_{δᵘ} E_t max_{δᵃ} Σ_i ℓ(w; t(x_i + δᵘ_i) + δᵃ_i, y_i)

    In the first phase a noise generator F_w learns from fresh weights, one batch of D_tr after the other:

        `steps` times:  δᵘ ← Π(δᵘ − rate · ρᵘ · sign Σ_j ∇_δ ℓ(w; t_j(x + δᵘ) + δᵃ_j, y))        J draws of t and δᵃ
        where, for each,  `adversary_steps` times:  δᵃ ← Π(δᵃ + rate · ρᵃ · sign ∇_δ ℓ(w; t_j(x + δᵘ) + δᵃ, y))
        w ← w − lr · ∇_w ℓ(w; t(x + δᵘ) + δᵃ, y)                                             one more draw of t and δᵃ

    with every δᵘ and δᵃ from uniform noise in its ball; the gradient in δᵘ is taken at the δᵃ that was found. In the
    second, the first ⌊εN⌋ points of D_tr get the noise that the trained F_w makes for them. Added, they are an
    indiscriminate attack; in the place of their sources, unlearnable examples. With ρᵃ = 0 the steps of δᵘ are `emn`'s,
    from another start. lr falls to a tenth after 2/5 and 4/5 of the steps of w, as in the released code.

    Departures from the released code: x + δᵘ stays in the box, and pixels stay real numbers, where it rounds δᵘ to
    multiples of 1/255 before F_w learns from it; D_tr is in random order already, so batches go round it without a
    shuffle; every point's final noise is that of the trained F_w, where the code drops the last, incomplete batch.
    Where the recipe does not augment, t is the identity, and one draw stands for J. F_w learns for 4 passes, where its
    5,000 steps on CIFAR-10 are 13 (`--preset released`).

    Measured on D_v of the digits (nn, ρᵘ = 0.3, ρᵃ = 0.15, the whole set, four seeds): a victim's 96.7 % fall to 71.7
    after 4 passes and to 82.8 after 13; those of one that trains adversarially within ρᵃ, 94.7, to 89.1 and 92.5. There
    noise made with ρᵃ = 0 is the stronger against both, 64.4 and 82.9; `emn`'s leaves 76.9 and 90.0.

    Fields:
        mode: addition adds the points, perturbation replaces their sources; the protocol's unless it is set.
        radius: ρᵘ, in [0, 1] units; the protocol's, if that is smaller.
        adversary_radius: ρᵃ, that of the adversarial training to be withstood; 0 for none.
        epochs: passes of w over D_tr.
        J: draws of t and δᵃ a step of δᵘ.
        steps: of δᵘ.
        adversary_steps: of δᵃ.
        rate: size of a step of δᵘ or δᵃ as a part of its radius.
        lr: first step size of w.
        momentum: of w.
        weight_decay: of w.
        batch_size: rows of a step.
    """

    version: ClassVar[int] = 1
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType({"released": {"epochs": 13}})
    paper = "fu2022robust"
    formulation = "unlearnable, min-min-max"
    cost = "epochs + ε passes over D_tr of steps · J · (adversary_steps + 1) gradients each; memory O(J · batch_size)"

    mode: Mode = Mode.ADDITION
    radius: float = 8 / 255
    adversary_radius: float = 4 / 255
    epochs: int = 4
    J: int = 5
    steps: int = 10
    adversary_steps: int = 10
    rate: float = 0.2
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    batch_size: int = 128

    def __post_init__(self) -> None:
        check_integers(self, epochs=1, J=1, steps=1, adversary_steps=1, batch_size=1)
        check_numbers(self, "> 0", "lr")
        check_numbers(self, "≥ 0", "weight_decay")
        check_numbers(self, "in (0, 1]", "radius", "rate")
        check_numbers(self, "in [0, 1)", "adversary_radius", "momentum")

    @property
    def threat(self) -> ThreatModel:
        """The declared threat: clean-label within the radius, in either mode."""
        return ThreatModel(mode=self.mode, clean_label=True, radius=self.radius)

    def craft(self, view: AttackerView, budget: Budget, stage: Stage) -> PoisonSet:
        """See Attack."""
        w = self._generator(view, budget, stage)
        first = torch.arange(budget.n_poison, device=stage.device)
        clean, parts = view.train.rows(first), first.split(self.batch_size)
        inner, state = self._inner(view, w, budget, stage), {"images": clean.x.clone()}
        for index in stage.steps("rem noise", len(parts), state):
            state["images"][parts[index]] = inner.noisy(clean.rows(parts[index]))
        logits = view.model.predict(w, state["images"])
        stats = {
            "error": float((logits.argmax(1) != clean.y).float().mean()),
            "loss": float(view.model.losses(logits, clean.y).mean()),
        }
        return PoisonSet(state["images"], clean.y, first, stats)

    def _generator(self, view: AttackerView, budget: Budget, stage: Stage) -> Weights:
        """The weights of the trained noise generator."""
        learner, data = Learner(view.model, self.momentum, self.weight_decay), view.train
        state, size = learner.begin(stage), min(self.batch_size, len(data))
        steps = self.epochs * math.ceil(len(data) / size)
        for step in stage.steps("rem", steps, state):
            w, velocity = learner.at(state)
            inner = self._inner(view, {name: value.detach() for name, value in w.items()}, budget, stage)
            batch = data.rows(torch.arange(step * size, (step + 1) * size, device=stage.device) % len(data))
            worst = inner.adversarial(inner.augment(inner.noisy(batch)), batch.y)
            passed = sum(step >= fifths * steps / 5 for fifths in (2, 4))
            loss = float(learner.step(w, velocity, worst, batch.y, self.lr * 0.1**passed))
            stage.report(loss=loss)
            if not math.isfinite(loss):
                raise DivergedError(f"rem diverged: loss {loss} in step {step + 1}. Lower attack.lr.")
        return {name: value.detach() for name, value in learner.at(state)[0].items()}

    def _inner(self, view: AttackerView, w: Weights, budget: Budget, stage: Stage) -> Inner:
        augment = augmentation(view.recipe, stage.generator)
        return Inner(self, view.model, w, budget, augment, view.recipe.augmentation != "none", stage.generator)


@dataclass(frozen=True)
class Inner:
    """The inner minimum and maximum at weights that stay as they are.

    Attributes:
        attack: radii, steps and draws.
        model: F.
        w: its weights.
        budget: box and ball of x + δᵘ.
        augment: t, drawn anew at every call.
        augmented: whether t is other than the identity.
        generator: where the starts are drawn.
    """

    attack: REM
    model: Model
    w: Weights
    budget: Budget
    augment: Transform
    augmented: bool
    generator: torch.Generator

    def noisy(self, clean: Samples) -> Tensor:
        """The images x + δᵘ of the inner minimum, of the shape of x; all J draws are one batch of J · n rows."""
        attack = self.attack
        J, radius = attack.J if self.augmented else 1, self.budget.bound or attack.radius
        y = clean.y.repeat(J)

        def met(x: Tensor) -> Tensor:
            return self.augment(x.repeat(J, 1, 1, 1))

        def slope(x: Tensor) -> Tensor:
            return input_gradient(self.model, self.w, self.adversarial(x, y), y)

        start = self.budget.project(clean.x + self._uniform(clean.x, radius), clean.x)
        return descend_rows(through(met, slope), start, clean.x, attack.rate * radius, attack.steps, self.budget)

    def adversarial(self, x: Tensor, y: Tensor) -> Tensor:
        """The images x + δᵃ of the inner maximum, in the box, for images x that the model meets."""
        attack, radius = self.attack, self.attack.adversary_radius
        if radius == 0:
            return x
        ball = replace(self.budget, threat=ThreatModel(radius=radius), radius=None)
        slope = partial(input_gradient, self.model, self.w, y=y)
        start = ball.project(x + self._uniform(x, radius), x)
        return descend_rows(slope, start, x, -attack.rate * radius, attack.adversary_steps, ball)

    def _uniform(self, x: Tensor, radius: float) -> Tensor:
        return radius * (2 * torch.rand(x.shape, generator=self.generator) - 1).to(x)
