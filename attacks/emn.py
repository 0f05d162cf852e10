"""Error-minimising noise: training points whose loss is small before a model has learned anything from them.

Huang, Ma, Erfani, Bailey & Wang, "Unlearnable Examples: Making Personal Data Unexploitable", ICLR 2021.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from poisonbench.attacks.base import Attack
from poisonbench.attacks.learner import Learner
from poisonbench.attacks.pixel_sign import descend_rows, input_gradient
from poisonbench.bilevel.projections import project_linf
from poisonbench.errors import ConfigError, DivergedError
from poisonbench.models.base import Model
from poisonbench.plugins.registry import register
from poisonbench.problem.budget import Budget
from poisonbench.problem.field_checks import check_integers, check_numbers
from poisonbench.problem.samples import PoisonSet, Samples, Weights
from poisonbench.problem.threat import Mode, ThreatModel
from poisonbench.problem.views import AttackerView
from poisonbench.stages.stage import Stage


@register("emn")
@dataclass(frozen=True)
class EMN(Attack):
    """Training points with bounded noise that makes their training loss small, so that nothing is learned from them.

    Perturbed training points (x_i + δ_i, y_i) with ‖δ_i‖∞ ≤ ε_σ that solve min_w min_δ Σ_i ℓ(w; x_i + δ_i, y_i).

        M times:  w ← w − lr · ∇_w ℓ on a batch of D_tr + δ,   `steps` times:  δ ← Π(δ − α sign ∇_δ ℓ) on all of D_tr,
        until the error on D_tr + δ is below `stop_error`

    from fresh weights and δ = 0; SGD's momentum is kept from round to round. Noise is made for all of D_tr, whatever ε;
    the first ⌊εN⌋ perturbed points are returned. Added, they are the indiscriminate attack of Lu, Kamath & Yu (Table
    12); in the place of their sources, they are unlearnable examples (Table 13).

    Departures from the released code: x + δ stays in the box in training and scoring too. D_tr is in random order
    already, so batches go round it without a shuffle, for class-wise noise as well. Class-wise noise follows the sign
    of the class's mean gradient on all of D_tr, `steps` times a round; the released code takes one step a row in every
    batch and averages them, on a fifth of each class, on which alone it also tells the error: `--preset class-wise` has
    that subset. Pixels stay real numbers: the released data set class casts δ to uint8, and so loses its negative half.

    Fields:
        noise: sample-wise is one δ a row; class-wise is one a class, x_i + δ_{y_i} clipped to the box.
        mode: addition adds the points, perturbation replaces their sources; the protocol's unless it is set.
        radius: ε_σ, in [0, 1] units; the protocol's, if that is smaller.
        M: minibatch steps of w a round.
        steps: steps of δ a round.
        alpha: their size α.
        subset: part of each class of D_tr whose rows class-wise noise follows, and on which error and loss are told; w
            is trained on all rows.
        stop_error: training error on D_tr + δ below which the search ends; 0 runs all rounds.
        max_rounds: rounds after which it ends anyway; the record's `reached` says so.
        lr: step size of w.
        momentum: of w.
        weight_decay: of w.
        clip: norm to which the gradient of w is clipped.
        batch_size: rows of a minibatch; 0 takes the recipe's.
    """

    version: ClassVar[int] = 1
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {"class-wise": {"noise": "class-wise", "subset": 0.2, "stop_error": 0.1, "batch_size": 512}}
    )
    later_fields: ClassVar[frozenset[str]] = frozenset({"subset"})
    paper = "huang2021unlearnable"
    formulation = "unlearnable, min-min"
    cost = "M gradients of w and steps + 1 passes over D_tr a round; memory O(2 · D_tr); independent of epsilon"

    noise: Literal["sample-wise", "class-wise"] = "sample-wise"
    mode: Mode = Mode.ADDITION
    radius: float = 8 / 255
    M: int = 10
    steps: int = 20
    alpha: float = 0.8 / 255
    subset: float = 1.0
    stop_error: float = 0.01
    max_rounds: int = 100
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    clip: float = 5.0
    batch_size: int = 0

    def __post_init__(self) -> None:
        check_integers(self, M=1, steps=1, max_rounds=1, batch_size=0)
        check_numbers(self, "> 0", "alpha", "lr", "clip")
        check_numbers(self, "≥ 0", "weight_decay")
        check_numbers(self, "in (0, 1]", "radius", "subset")
        check_numbers(self, "in [0, 1)", "stop_error", "momentum")
        if self.subset != 1 and self.noise == "sample-wise":
            raise ConfigError("attack.subset belongs to attack.noise=class-wise.")

    @property
    def threat(self) -> ThreatModel:
        """The declared threat: clean-label within the radius, in either mode."""
        return ThreatModel(mode=self.mode, clean_label=True, radius=self.radius)

    def craft(self, view: AttackerView, budget: Budget, stage: Stage) -> PoisonSet:
        """See Attack."""
        model, data = view.model, view.train
        size = min(self.batch_size or view.recipe.batch_size, len(data))
        learner = Learner(model, self.momentum, self.weight_decay, self.clip)
        state = learner.begin(stage)
        number = len(data) if self.noise == "sample-wise" else view.classes
        state["noise"] = data.x.new_zeros(number, *data.x.shape[1:])
        parts = first_of_each_class(data.y, self.subset).split(size)
        state["evidence"] = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)  # rounds, error, loss
        for index in stage.steps("emn", self.max_rounds, state):
            if float(state["evidence"][1]) < self.stop_error:
                break
            w, velocity = learner.at(state)
            for batch in range(index * self.M, (index + 1) * self.M):
                rows = torch.arange(batch * size, (batch + 1) * size, device=stage.device) % len(data)
                learner.step(w, velocity, self._images(state["noise"], data, rows, budget), data.y[rows], self.lr)
            fixed = {name: value.detach() for name, value in w.items()}
            state["noise"] = self._descend(model, fixed, state["noise"], data, parts, budget)
            error, loss = self._score(model, fixed, state["noise"], data, parts, budget)
            state["evidence"] = torch.tensor([index + 1, error, loss], dtype=torch.float64)
            stage.report(loss=loss, error=error)
            if not math.isfinite(loss):
                raise DivergedError(f"emn diverged: loss {loss} in round {index + 1}. Lower attack.lr or attack.clip.")
        rounds, error, loss = state["evidence"].tolist()
        first = torch.arange(budget.n_poison, device=stage.device)
        stats = {"rounds": int(rounds), "train_error": error, "train_loss": loss, "reached": error < self.stop_error}
        return PoisonSet(self._images(state["noise"], data, first, budget), data.y[first], first, stats)

    def _images(self, noise: Tensor, data: Samples, rows: Tensor, budget: Budget) -> Tensor:
        """The images Π(x + δ) of those rows, (rows, channels, height, width)."""
        x = data.x[rows]
        return budget.project(x + noise[rows if self.noise == "sample-wise" else data.y[rows]], x)

    def _descend(
        self, model: Model, w: Weights, noise: Tensor, data: Samples, parts: tuple[Tensor, ...], budget: Budget
    ) -> Tensor:
        """The noise δ after `steps` steps on these parts of D_tr. Rows do not touch each other: sample-wise, a part
        takes all its steps before the next."""
        if self.noise == "sample-wise":
            noise = noise.clone()
            for rows in parts:
                x, slope = data.x[rows], partial(input_gradient, model, w, y=data.y[rows])
                made = self._images(noise, data, rows, budget)
                noise[rows] = descend_rows(slope, made, x, self.alpha, self.steps, budget) - x
            return noise
        for _ in range(self.steps):
            noise = descend_classes(
                model, w, noise, (data.rows(rows) for rows in parts), self.alpha, budget.bound or self.radius, budget
            )
        return noise

    def _score(
        self, model: Model, w: Weights, noise: Tensor, data: Samples, parts: tuple[Tensor, ...], budget: Budget
    ) -> tuple[float, float]:
        """Error and mean loss on these parts of D_tr + δ."""
        wrong, total, n = 0, 0.0, sum(map(len, parts))
        for rows in parts:
            logits = model.predict(w, self._images(noise, data, rows, budget))
            wrong += int((logits.argmax(1) != data.y[rows]).sum())
            total += float(model.losses(logits, data.y[rows]).sum())
        return wrong / n, total / n


def first_of_each_class(y: Tensor, part: float) -> Tensor:
    """The rows of labels y, (n,), in their order, that are among the first ⌈part · n_c⌉ of their class c."""
    mine = F.one_hot(y)
    place = (mine.cumsum(0) * mine).sum(1)  # from 1
    quota = (part * mine.sum(0).double() - 1e-9).ceil()  # 0.2 · 35 is 7, not 7.0…1
    return torch.nonzero(place <= quota[y]).flatten()


def descend_classes(
    model: Model, w: Weights, noise: Tensor, parts: Iterable[Samples], alpha: float, radius: float, budget: Budget
) -> Tensor:
    """The noise after one step δ_c ← Π(δ_c − α sign of the mean of ∇_x ℓ over the class's rows), for every class c.

    Args:
        model: the model.
        w: its weights.
        noise: δ, (C, channels, height, width).
        parts: all rows, as many at a time as fit.
        alpha: size of the step.
        radius: of the L∞ ball that δ is projected on.
        budget: clips the images x_i + δ_{y_i}.
    """
    total = torch.zeros_like(noise).flatten(1)
    for part in parts:
        slope = input_gradient(model, w, budget.project(part.x + noise[part.y], part.x), part.y)
        # A product with the one-hot labels: index_add_ would add in no fixed order on a GPU.
        total += F.one_hot(part.y, len(noise)).to(slope.dtype).T @ slope.flatten(1)
    step = alpha * total.sign().view_as(noise)
    return project_linf(noise - step, torch.zeros_like(noise), radius)
