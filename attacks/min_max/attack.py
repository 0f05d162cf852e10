"""The min-max attack of Steinhardt, Koh & Liang: points that a model likes least while it learns to like them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from poisonbench.attacks.min_max.base import Answer, SaddleAttack
from poisonbench.attacks.min_max.feasible_set import BoxSet, SphereSet, ranges, spheres
from poisonbench.attacks.min_max.inner_maximum import ascend, convex_maximum
from poisonbench.errors import ConfigError
from poisonbench.models.base import Model
from poisonbench.plugins.registry import register
from poisonbench.problem.budget import Budget
from poisonbench.problem.field_checks import check_integers, check_numbers
from poisonbench.problem.samples import PoisonSet, Weights
from poisonbench.problem.threat import ThreatModel
from poisonbench.problem.views import AttackerView
from poisonbench.stages.stage import Stage


@register("min-max")
@dataclass(frozen=True)
class MinMax(SaddleAttack):
    """The points of largest loss for each iterate of a model that learns against them.

    D_p of max_{D_p ⊆ F} min_θ L(θ; D_tr) + ε L(θ; D_p) + λ/2 ‖θ‖², through the dual min_θ max_{(x, y) ∈ F}.

    Linear models: the inner problem is solved over every label at once, exactly for the hinge, and to a local vertex
    maximum for cross entropy; the points of one iterate are copies. `upper_bound` in the record is the smallest
    objective of the iterates: no poison set in F of that size can make the trained loss larger (weak duality; for
    cross entropy as far as the inner maxima are the global ones). With a radius every point has its own source, its
    own box and the label that is worst there, and there is no common F to bound.

    Networks, which the paper does not treat: images start at rows of D_tr and ascend the loss of each wrong label by
    signed gradient steps; the worst label is kept.

    Departures: the number of iterates does not depend on that of the points, and as many are burned in; pixels have all
    of [0, 1]; F is the box; no slab, which is defined for two classes only. `--preset released` has, for linear models,
    what the released code has on MNIST: an iterate for two points, which are copies; a burn-in of max(0.33, 0.015/ε −
    1) times as many iterates, which is 0.33 at ε = 3 %; a sphere that leaves out a tenth of each class; each pixel in
    the range that it has in the data. With it, too, D_v stands for the test set, whose pixels the released code looks
    at; AdaGrad starts without the clean training's history, and the bias at the clean model's, not at 0; all labels and
    rivals are tried, where the released code draws one rival a label; and the loss is the model's own, not the hinge.

    Fields:
        feasible: F for linear models: `box`, or `sphere`, its part within r_y of the centroid of class y.
        removed: fraction of each clean class that r_y leaves outside.
        ascent_steps: gradient steps on x for networks.
        ascent_rate: their first size, as a part of each pixel's range.
    """

    version: ClassVar[int] = 1
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {
            "released": {
                "steps": 0,
                "copies": 2,
                "burn_in": 0.33,
                "pixels": "observed",
                "feasible": "sphere",
                "removed": 0.1,
            }
        }
    )
    threat = ThreatModel()
    paper = "steinhardt2017certified"
    formulation = "zero-sum"
    cost = "(1 + burn_in) · steps gradients: of D_tr for linear models, of C · ascent_steps points and a batch else"

    feasible: Literal["box", "sphere"] = "box"
    removed: float = 0.3
    ascent_steps: int = 5
    ascent_rate: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integers(self, ascent_steps=1)
        check_numbers(self, "> 0", "ascent_rate")
        check_numbers(self, "in [0, 1)", "removed")

    def ready_for(self, model: Model) -> None:
        """See Attack."""
        if self.feasible == "sphere" and not model.linear:
            raise ConfigError("attack.feasible: sphere needs a linear model; take box.")

    def craft(self, view: AttackerView, budget: Budget, stage: Stage) -> PoisonSet:
        """See Attack."""
        self.ready_for(view.model)
        source = torch.arange(budget.n_poison, device=stage.device)
        if not view.model.linear:
            answer = self._ascent(view, budget, source)
        else:
            source, answer = self._convex(view, budget, source)
        x, y, value = self.play(view, budget, answer, stage, "min-max")
        x = budget.project(x, view.train.x[source])
        made_from_nothing = bool((source < 0).all())
        return PoisonSet(x, y, source, {"upper_bound": value} if made_from_nothing else {})

    def _convex(self, view: AttackerView, budget: Budget, source: Tensor) -> tuple[Tensor, Answer]:
        """The exact answers to a linear model, and the sources that they need."""
        model, train = view.model, view.train
        if self.feasible == "sphere":
            centres, radii, inside = spheres(train, view.classes, self.removed)
            rows = torch.nonzero(inside).flatten()
            source = rows[source % len(rows)]
        if budget.bound is None:
            source = torch.full_like(source, -1)

        lowest, highest = (limit.flatten() for limit in self.limits(view))

        def answer(theta: Weights, slots: Tensor) -> tuple[Tensor, Tensor]:
            needed = slots[:1] if budget.bound is None else slots
            low, high = ranges(budget, train.x[source[needed]].flatten(1)[:, None, None], (lowest, highest))
            box = BoxSet(low, high)
            F = SphereSet(box, centres, radii) if self.feasible == "sphere" else box
            x, loss = convex_maximum(model, theta, F.maximum, len(needed), starts=view.classes)
            y = loss.masked_fill(~F.allowed, -math.inf).argmax(1)
            x = x[torch.arange(len(y), device=x.device), y].view(-1, *model.shape)
            return x.expand(len(slots), -1, -1, -1), y.expand(len(slots))

        return source, answer

    def _ascent(self, view: AttackerView, budget: Budget, source: Tensor) -> Answer:
        """The answers by projected gradient ascent from the sources, with every label at once."""
        model, classes, limits = view.model, view.classes, self.limits(view)

        def answer(theta: Weights, slots: Tensor) -> tuple[Tensor, Tensor]:
            x = view.train.x[source[slots]].repeat_interleave(classes, 0)
            y = torch.arange(classes, device=x.device).repeat(len(slots))

            def losses(x: Tensor) -> Tensor:
                return model.losses(model.forward(theta, model.normalise(x)), y)

            x = ascend(losses, x, *ranges(budget, x, limits), self.ascent_steps, self.ascent_rate)
            with torch.no_grad():
                worst = losses(x).view(-1, classes).argmax(1)
            return x.view(len(slots), classes, *model.shape)[torch.arange(len(slots), device=x.device), worst], worst

        return answer
