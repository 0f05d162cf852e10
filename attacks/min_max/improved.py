"""The improved min-max attack of Koh, Steinhardt & Liang: min-max with points that a decoy model finds easy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor

from poisonbench.attacks.decoy import Candidate, check_grid
from poisonbench.attacks.decoy_trials import best_attempt
from poisonbench.attacks.min_max.base import Answer, SaddleAttack
from poisonbench.attacks.min_max.decoy_search import DecoySearch
from poisonbench.attacks.min_max.feasible_set import Limits
from poisonbench.attacks.min_max.low_loss import LowLoss
from poisonbench.attacks.min_max.low_loss_set import constraints_of
from poisonbench.errors import BudgetError
from poisonbench.plugins.registry import register
from poisonbench.problem.budget import Budget
from poisonbench.problem.field_checks import check_integers, check_numbers
from poisonbench.problem.samples import PoisonSet, Weights
from poisonbench.problem.threat import ThreatModel
from poisonbench.problem.views import AttackerView
from poisonbench.stages.stage import Stage


@register("i-min-max")
@dataclass(frozen=True)
class IMinMax(SaddleAttack):
    """Min-max among the points that a decoy model, which errs on D_v, finds easy.

    F of min-max is cut down to {(x, y) : ℓ_{θ*}(x, y) ≤ τ}, for decoy parameters θ* that err on D_v.

    Decoys (decoy.py): the low-margin part q of D_v with flipped labels, r copies of it added to D_tr, the model trained
    on; those on the Pareto front of low loss on D_tr and high error on D_v are kept. The released code attacks with
    every one of them and keeps the most effective. Here `trials` of them, spread evenly over the front from the
    strongest, are attacked with; the model is retrained with the recipe on D_tr ∪ D_p each time, and the largest error
    on D_v decides; one trial needs no retraining. D_v is what the flips came from, so that error flatters the attack,
    but all trials alike.

    Linear models: a linear objective over box and constraint is solved to 1e-5 by an interior-point method for every
    label and rival; that is exact for the hinge. For cross entropy the best rival's answer starts the ascent of
    `convex_maximum`. Networks: images start at rows of D_tr that θ* finds easy, descend ℓ_{θ*} for every label, then
    ascend ℓ_θ − penalty · (ℓ_{θ*} − τ)₊. All answers are pulled back until θ* has a loss of at most τ.

    Departures besides those of min-max: decoys are trained on from the clean weights for `decoy_epochs`, which costs a
    tenth; the grid is smaller, and not every decoy is tried. `--preset released` has the released code's grid, decoys
    from scratch, all of their front, and min-max's iterates and pixels. With it, too, there is no data-sanitisation
    sphere, and D_v stands for the test set, from which the released code makes its decoys, and by which it chooses.

    Fields:
        tau: τ.
        quantiles: the grid of q.
        repetitions: the grid of r.
        decoy_epochs: epochs of a decoy's training from the clean weights; 0 trains it from scratch with the recipe.
        trials: how many decoys of the front are tried.
        ascent_steps: gradient steps on x, each for finding a start and for the ascent of networks.
        ascent_rate: their first size, as a part of each pixel's range.
        penalty: of networks.
    """

    version: ClassVar[int] = 1
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {
            "released": {
                "steps": 0,
                "copies": 2,
                "burn_in": 0.33,
                "pixels": "observed",
                "quantiles": (0.05, 0.07, 0.1, 0.12, 0.15, 0.18, 0.2, 0.22, 0.25),
                "repetitions": (1, 2, 3, 5, 8, 12, 18, 25),
                "decoy_epochs": 0,
                "trials": 72,
            }
        }
    )
    threat = ThreatModel()
    paper = "koh2022stronger"
    formulation = "zero-sum, target parameters"
    cost = (
        "|quantiles| · |repetitions| decoys; then trials times (1 + burn_in) · steps gradients of D_tr, as many answers"
    )

    steps: int = 100
    tau: float = 0.25
    quantiles: tuple[float, ...] = (0.1, 0.25, 0.5)
    repetitions: tuple[int, ...] = (1, 3, 8, 20)
    decoy_epochs: int = 10
    trials: int = 2
    ascent_steps: int = 5
    ascent_rate: float = 0.2
    penalty: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integers(self, decoy_epochs=0, trials=1, ascent_steps=1)
        check_numbers(self, "> 0", "tau", "ascent_rate", "penalty")
        check_grid(self.quantiles, self.repetitions)

    def craft(self, view: AttackerView, budget: Budget, stage: Stage) -> PoisonSet:
        """See Attack."""
        if view.model.linear:
            constraints_of(view.model, self.tau)

        def attempt(number: int, decoy: Candidate) -> PoisonSet:
            return self._attempt(number, decoy, view, budget, stage)

        return best_attempt(view, self.quantiles, self.repetitions, self.decoy_epochs, self.trials, attempt, stage)

    def _attempt(self, number: int, chosen: Candidate, view: AttackerView, budget: Budget, stage: Stage) -> PoisonSet:
        """The poison set that one decoy leads to."""
        decoy, train = LowLoss(view.model, chosen.weights, self.tau), view.train
        if view.model.linear and budget.bound is None:
            source = torch.full((budget.n_poison,), -1, device=stage.device)
            answer = self._shared_answer(decoy, view, budget)
        else:
            logits = view.model.predict(chosen.weights, train.x)
            easy = torch.nonzero(view.model.losses(logits, train.y) <= self.tau).flatten()
            if len(easy) == 0:
                raise BudgetError("i-min-max: the decoy finds no row of D_tr easy. Raise attack.tau.")
            source = easy[torch.arange(budget.n_poison, device=stage.device) % len(easy)]
            answer = self._answer(decoy, view, budget, source)
        x, y, _ = self.play(view, budget, answer, stage, f"i-min-max {number}")
        poison = PoisonSet(budget.project(x, train.x[source]), y, source)
        with torch.no_grad():
            loss = float(decoy.losses(poison.x, poison.y).max())
        return replace(poison, stats={"decoy_poison_loss": loss})

    def _answer(self, decoy: LowLoss, view: AttackerView, budget: Budget, source: Tensor) -> Answer:
        """The answers from the sources; one that no label allows to move stays where it is: the decoy finds it easy."""
        train, limits = view.train, self.limits(view)

        def answer(theta: Weights, slots: Tensor) -> tuple[Tensor, Tensor]:
            rows = source[slots]
            search = self._search(decoy, train.x[rows], budget, limits)
            x, y = search.best(theta)
            able = search.inside.any(1)
            return torch.where(able[:, None, None, None], x, train.x[rows]), torch.where(able, y, train.y[rows])

        return answer

    def _shared_answer(self, decoy: LowLoss, view: AttackerView, budget: Budget) -> Answer:
        """The answers without sources: all slots of an iterate take the same point."""
        search = self._search(decoy, view.train.x.mean(0, keepdim=True), budget, self.limits(view))
        if not bool(search.inside.any()):
            raise BudgetError("i-min-max: the decoy finds no image easy. Raise attack.tau or attack.ascent_steps.")

        def answer(theta: Weights, slots: Tensor) -> tuple[Tensor, Tensor]:
            x, y = search.best(theta)
            return x.expand(len(slots), -1, -1, -1), y.expand(len(slots))

        return answer

    def _search(self, decoy: LowLoss, x: Tensor, budget: Budget, limits: Limits) -> DecoySearch:
        return DecoySearch.about(decoy, x, budget, limits, self.ascent_steps, self.ascent_rate, self.penalty)
