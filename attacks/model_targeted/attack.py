"""Model-targeted poisoning: points that turn a convex model into a chosen one, one after the other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor

from poisonbench.attacks.base import Attack
from poisonbench.attacks.decoy import Candidate, check_grid
from poisonbench.attacks.decoy_trials import best_attempt
from poisonbench.attacks.model_targeted.certificate import points_needed
from poisonbench.attacks.model_targeted.loss_difference import LossDifference
from poisonbench.errors import ConfigError
from poisonbench.models.linear import is_affine
from poisonbench.models.linear_losses import has_hinge
from poisonbench.models.linear_risk import Risk, layer, matrix
from poisonbench.plugins.registry import register
from poisonbench.problem.budget import BOX, Budget
from poisonbench.problem.effective_decay import effective_decay
from poisonbench.problem.field_checks import check_integers, check_numbers
from poisonbench.problem.samples import PoisonSet, Weights
from poisonbench.problem.threat import ThreatModel
from poisonbench.problem.views import AttackerView
from poisonbench.stages.stage import Stage

GOING, BUDGET, DISTANCE, ERROR = range(4)
STOPS = ("", "budget", "distance", "error")
"""Why a search ended, by its number in the state."""


@register("model-targeted")
@dataclass(frozen=True)
class ModelTargeted(Attack):
    """Points that lead a convex model, step by step, to a target model that errs.

    For target parameters θ*, and θ_t the minimiser of the regularised risk on D_tr and the points so far, a step adds

        (x, y) = argmax_{x ∈ F, y} ℓ(θ_t; x, y) − ℓ(θ*; x, y)

    and the search stops at the budget, or once that difference is at most `stop_distance` (θ_t is as good as θ*), or
    once θ_t errs on `stop_error` of D_v. Then D_p has fewer rows than it may. θ_t goes to every θ* that points of F can
    reach. F is the box; within a radius it is the boxes about all rows of D_tr, and a point is made from its box's row.

    The difference is one of convex functions (loss_difference.py): under the hinge its maximum is exact to 1e-5, under
    cross entropy that of convex-concave steps from the best rivals of every label. θ_t comes of L-BFGS, from θ_{t−1}
    (linear_risk.py).

    `lower_bound` in the record: no attack makes θ* the minimiser with fewer points (certificate.py). It is the largest
    over the θ_t, and holds for any of them, whatever was found; `unreachable` says that no number is enough.

    Targets are decoys, as i-min-max's: the low-margin part q of D_v with flipped labels, r copies of it added to D_tr,
    the model trained on; `trials` of those on the Pareto front of low loss on D_tr and high error on D_v are attacked
    with, spread evenly from the strongest, the model is retrained with the recipe, and the lowest accuracy on D_v
    decides.

    Departures: λ is the recipe's weight decay plus 1 / Σ learning rates, momentum counted (effective_decay.py): without
    it θ_t would run away from the model that is trained. The upper bound in the certificate is a closed form, where the
    released code takes what its search found. A step adds several copies of its point, so that there are 50 at most.
    The hinge is smoothed while θ_t is sought. Targets are compared by what they do to D_v. `--preset released` has the
    released code's grid, decoys from scratch, a point a step and MNIST-17's distance; there a target is the decoy of
    least loss for each of three errors on the test set, and λ is 0.09 for attacker and victim alike.

    Fields:
        copies: of its point that a step adds; null takes ⌈n_poison / 50⌉.
        stop_distance: the largest loss difference at which the search ends.
        stop_error: the error on D_v, of θ_t, at which it ends; null never does.
        decay: λ; null takes the recipe's weight decay plus 1 / Σ learning rates.
        tolerance: the largest entry of the scaled gradient (linear_risk.py) at which θ_t counts as the minimiser.
        max_steps: of L-BFGS after which it does anyway; the record's `gradient` says what was left.
        temperature: T of the hinge's smooth bound.
        starts: of the convex-concave steps for every label; at most C − 1.
        quantiles: the grid of q.
        repetitions: the grid of r.
        decoy_epochs: epochs of a decoy's training from the clean weights; 0 trains it from scratch with the recipe.
        trials: how many decoys of the front are tried.
    """

    version: ClassVar[int] = 1
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {
            "released": {
                "copies": 1,
                "stop_distance": 0.1,
                "quantiles": (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6),
                "repetitions": (1, 2, 3, 5, 8, 10, 12, 15, 20, 25, 30, 50, 60),
                "decoy_epochs": 0,
                "trials": 3,
            }
        }
    )
    threat = ThreatModel()
    paper = "suya2021model"
    formulation = "zero-sum, target parameters"
    models = "lr, svm"
    cost = (
        "|quantiles| · |repetitions| decoys; then trials times n_poison / copies steps, each some 15 gradients of D_tr "
        "and a search from C² starts"
    )

    copies: int | None = None
    stop_distance: float = 0.01
    stop_error: float | None = None
    decay: float | None = None
    tolerance: float = 1e-3
    max_steps: int = 100
    temperature: float = 0.1
    starts: int = 2
    quantiles: tuple[float, ...] = (0.1, 0.25, 0.5)
    repetitions: tuple[int, ...] = (1, 3, 8, 20)
    decoy_epochs: int = 10
    trials: int = 4

    def __post_init__(self) -> None:
        check_integers(self, copies=1, max_steps=1, starts=1, decoy_epochs=0, trials=1)
        check_numbers(self, "> 0", "tolerance", "temperature")
        check_numbers(self, "≥ 0", "stop_distance", "decay")
        check_numbers(self, "in (0, 1]", "stop_error")
        check_grid(self.quantiles, self.repetitions)

    def craft(self, view: AttackerView, budget: Budget, stage: Stage) -> PoisonSet:
        """See Attack.

        Raises:
            ConfigError: for a model that is not one linear layer with cross entropy or the multi-class hinge.
        """
        if not is_affine(view.model):
            raise ConfigError("model-targeted is for convex models, one linear layer. Use --model lr or svm.")

        def attempt(number: int, decoy: Candidate) -> PoisonSet:
            return self.toward(decoy.weights, view, budget, stage, f"model-targeted {number}")

        return best_attempt(view, self.quantiles, self.repetitions, self.decoy_epochs, self.trials, attempt, stage)

    def toward(self, target: Weights, view: AttackerView, budget: Budget, stage: Stage, task: str) -> PoisonSet:
        """The points that lead to the parameters θ*, with the distance that is left and the number of points that any
        attack needs."""
        model, train, n = view.model, view.train, budget.n_poison
        hinge = has_hinge(model, "model-targeted")
        decay = effective_decay(view.recipe, len(train), momentum=True) if self.decay is None else self.decay
        risk = Risk.of(model, view.weights, train, decay, self.temperature if hinge else None)
        theta_star = matrix(target)
        difference = LossDifference(model, target, hinge, *_boxes(budget, train.x))
        excess, penalty = risk.clean_total(theta_star), risk.penalty(theta_star)
        copies = self.copies or math.ceil(n / 50)

        state = {"theta": matrix(view.weights)}
        state |= {"x": train.x.new_zeros((n, *model.shape)), "y": train.y.new_zeros(n), "source": train.y.new_zeros(n)}
        state |= {"used": torch.tensor(0), "stop": torch.tensor(GOING)}
        state["evidence"] = torch.zeros(4, dtype=torch.float64)  # lower bound, distance, error, gradient
        for _ in stage.steps(task, math.ceil(n / copies) + 1, state):
            used = int(state["used"])
            if int(state["stop"]) != GOING:
                continue
            points = state["x"][:used], state["y"][:used]
            theta, gradient = risk.minimum(state["theta"], *points, self.tolerance, self.max_steps)
            w = layer(theta)
            box, x, y, distance = difference.maximum(w, self.starts)
            gain = float(difference.bound(w).max()) + risk.penalty(theta) - penalty
            needed = points_needed(excess - risk.clean_total(theta), gain)
            wrong = model.predict(w, view.validation.x).argmax(1) != view.validation.y
            error = float(wrong.float().mean())
            evidence = [max(float(state["evidence"][0]), needed), distance, error, gradient]
            stage.report(distance=distance, validation_error=error)

            stop = self._stop(used, n, distance, error)
            if stop == GOING:
                added = slice(used, min(used + copies, n))
                source = -1 if budget.bound is None else box
                image = x.to(train.x).view(model.shape)
                state["x"][added] = budget.project(image[None], train.x[box][None])
                state["y"][added], state["source"][added] = y, source
                used = added.stop
            state |= {"theta": theta, "used": torch.tensor(used), "stop": torch.tensor(stop)}
            state["evidence"] = torch.tensor(evidence, dtype=torch.float64)
        return self._found(state)

    def _stop(self, used: int, n: int, distance: float, error: float) -> int:
        """Why the search ends with `used` points, if it does; a poison set has at least one."""
        if used and distance <= self.stop_distance:
            return DISTANCE
        if used and self.stop_error is not None and error >= self.stop_error:
            return ERROR
        return BUDGET if used == n else GOING

    @staticmethod
    def _found(state: Mapping[str, Tensor]) -> PoisonSet:
        """The points of a search that is over, with its evidence."""
        used = int(state["used"])
        needed, distance, error, gradient = state["evidence"].tolist()
        stats: dict[str, Any] = {
            "points": used,
            "stop": STOPS[int(state["stop"])],
            "distance": distance,
            "validation_error": error,
            "gradient": gradient,
            "unreachable": math.isinf(needed),
        }
        if not math.isinf(needed):
            stats["lower_bound"] = needed
        return PoisonSet(state["x"][:used], state["y"][:used], state["source"][:used], stats)


def _boxes(budget: Budget, x: Tensor) -> tuple[Tensor, Tensor]:
    """Where points may lie, (n, d) twice: one box, or one about every row of D_tr."""
    sources = x[:1] if budget.bound is None else x
    low, high = (budget.project(torch.full_like(sources, end), sources).flatten(1) for end in BOX)
    return low, high
