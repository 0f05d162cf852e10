"""The KKT attack: a few distinct points, repeated, that make decoy parameters the outcome of training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import cos, pi
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor

from poisonbench.attacks.base import Attack
from poisonbench.attacks.decoy import Candidate, check_grid
from poisonbench.attacks.decoy_trials import best_attempt
from poisonbench.attacks.kkt.shares import best_shares, splits, whole
from poisonbench.attacks.kkt.stationarity import Stationarity
from poisonbench.attacks.pixel_adam import adam_descend, pixel_state
from poisonbench.errors import ConfigError
from poisonbench.models.linear import is_affine
from poisonbench.models.linear_losses import has_hinge
from poisonbench.models.linear_risk import Risk, matrix
from poisonbench.plugins.registry import register
from poisonbench.problem.budget import Budget
from poisonbench.problem.effective_decay import effective_decay
from poisonbench.problem.field_checks import check_integers, check_numbers
from poisonbench.problem.samples import PoisonSet, Samples, Weights
from poisonbench.problem.threat import ThreatModel
from poisonbench.problem.views import AttackerView
from poisonbench.stages.stage import Stage


@register("kkt")
@dataclass(frozen=True)
class KKT(Attack):
    """A few distinct points, repeated, whose gradients make a decoy's parameters stationary.

    For decoy parameters θ* of a convex model, distinct points (x_k, y_k) with shares a_k of D_p, in the box:

        min over x, a of ‖∇L(D_tr; θ*) + (1 + ε) λ θ* + ε Σ_k a_k ∇ℓ(x_k, y_k; θ*)‖²

    At 0, θ* is the minimiser of the regularised risk on D_tr ∪ D_p. A point of D_p is a copy of one of the x_k.

    Two classes: one distinct point for each, which the paper shows to be as good as any number under the hinge. `grid`
    ways of dealing the copies to them are tried, all at once, and the smallest residual is kept. More classes, which
    the paper leaves open: C − 1 points a class, as many as there are ordered pairs of label and rival, for which the
    same argument holds; in each of `rounds` rounds the shares are non-negative least squares on the simplex
    (shares.py), then all points move; in the last round the shares are whole numbers of copies.

    Points start at the rows of D_tr whose gradients, under their label, cancel most, and descend by Adam in steps that
    fall to 0 along a cosine; of `starts` searches, each from the next rows, all at once, the best is kept. Within a
    radius they stay near those rows.

    Decoys are i-min-max's: the low-margin part q of D_v with flipped labels, r copies of it added to D_tr, the model
    trained on. `trials` of those on the Pareto front of low loss on D_tr and high error on D_v are attacked with,
    spread evenly from the strongest, the model is retrained with the recipe, and the lowest accuracy on D_v decides.

    Departures: the hinge's gradient is that of its smooth bound (smooth_hinge.py), 0 to 1 times the hinge's near the
    margin, so that nothing but the box constrains x; the paper's quadratic program fixes it at 1 and asks for a margin
    below 1. λ is the recipe's weight decay plus 1 / Σ learning rates, momentum counted (effective_decay.py). The grid
    has whole copies, and no extra split that makes the bias exact. Of a decoy's splits that of least residual is kept,
    where the released code retrains with each. `--preset released` has the released code's grids, of 7 splits and 72
    decoys from scratch, all of whose front is tried; with it, too, D_v stands for the test set, and there is no sphere,
    no slab and no bound on the points' loss, which are there against sanitisers.

    Fields:
        grid: how many ways of dealing the copies are tried for two classes.
        starts: how many searches.
        rounds: of shares and points, for more classes than two.
        steps: of Adam a round; all of them for two classes.
        rate: their first size, in pixels.
        decay: λ; null takes the recipe's weight decay plus 1 / Σ learning rates.
        temperature: T of the hinge's smooth bound.
        quantiles: the grid of q.
        repetitions: the grid of r.
        decoy_epochs: epochs of a decoy's training from the clean weights; 0 trains it from scratch with the recipe.
        trials: how many decoys of the front are tried.
    """

    version: ClassVar[int] = 1
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {
            "released": {
                "grid": 7,
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
    models = "lr, svm"
    cost = (
        "|quantiles| · |repetitions| decoys; then trials times a gradient of D_tr, starts · rounds · "
        "steps gradients of C² points, one training"
    )

    grid: int = 31
    starts: int = 4
    rounds: int = 4
    steps: int = 300
    rate: float = 0.05
    decay: float | None = None
    temperature: float = 0.1
    quantiles: tuple[float, ...] = (0.1, 0.25, 0.5)
    repetitions: tuple[int, ...] = (1, 3, 8, 20)
    decoy_epochs: int = 10
    trials: int = 8

    def __post_init__(self) -> None:
        check_integers(self, grid=2, starts=1, rounds=1, steps=1, decoy_epochs=0, trials=1)
        check_numbers(self, "> 0", "rate", "temperature")
        check_numbers(self, "≥ 0", "decay")
        check_grid(self.quantiles, self.repetitions)

    def craft(self, view: AttackerView, budget: Budget, stage: Stage) -> PoisonSet:
        """See Attack.

        Raises:
            ConfigError: for a model that is not one linear layer with cross entropy or the multi-class hinge.
        """
        if not is_affine(view.model):
            raise ConfigError("kkt is for convex models, one linear layer. Use --model lr or svm.")
        temperature = self.temperature if has_hinge(view.model, "kkt") else None
        decay = effective_decay(view.recipe, len(view.train), momentum=True) if self.decay is None else self.decay
        risk = Risk.of(view.model, view.weights, view.train, decay, temperature)

        def attempt(number: int, decoy: Candidate) -> PoisonSet:
            return self.toward(decoy.weights, risk, view.train, budget, stage, f"kkt {number}")

        return best_attempt(view, self.quantiles, self.repetitions, self.decoy_epochs, self.trials, attempt, stage)

    def toward(self, target: Weights, risk: Risk, train: Samples, budget: Budget, stage: Stage, task: str) -> PoisonSet:
        """The points that make θ* as nearly stationary as they can, with the part of the gradient that is left and the
        shares of the labels."""
        n, epsilon, theta = budget.n_poison, budget.n_poison / len(train), matrix(target)
        _, clean = risk.gradient(theta, risk.clean)
        gradient = clean + epsilon * risk.decay * theta
        condition = Stationarity(risk.model, theta, gradient, epsilon, risk.temperature)
        two = risk.model.classes == 2
        rounds = 1 if two else self.rounds
        rows, y = _starts(condition, train, self.starts, 1 if two else risk.model.classes - 1)
        dealt = splits(n, self.grid).to(gradient) / n if two else gradient.new_full((1, y.shape[1]), 1 / y.shape[1])
        rows, y = (part.repeat_interleave(len(dealt), 0).flatten() for part in (rows, y))
        sources = train.x[rows]

        state = {**pixel_state(sources), "shares": dealt.repeat(self.starts, 1)}
        for index in stage.steps(task, rounds * self.steps, state):
            step = index % self.steps
            if step == 0 and not two:
                atoms = epsilon * condition.atoms(state["x"], y).flatten(1)
                found = torch.stack([best_shares(gradient.flatten(), part) for part in atoms.chunk(self.starts)])
                if index // self.steps == rounds - 1:
                    found = torch.stack([whole(part, n) for part in found]).to(gradient) / n
                state |= {**pixel_state(state["x"]), "shares": found}
            value, slope = condition.descent(state["x"], y, state["shares"])
            adam_descend(state, slope, self.rate * (1 + cos(pi * step / self.steps)) / 2, step)
            state["x"] = budget.project(state["x"], sources)
            stage.report(residual=float((2 * value.min()).sqrt()))
        left = condition.part_left(state["x"], y, state["shares"])
        best = int(left.argmin())
        copies = (state["shares"][best] * n).round().long()
        kept = torch.arange(len(copies), device=y.device).repeat_interleave(copies) + best * len(copies)
        by_label = torch.bincount(y[kept], minlength=risk.model.classes).tolist()
        stats: dict[str, Any] = {
            "residual": float(left[best]),
            "distinct": int((copies > 0).sum()),
            "copies_by_label": " ".join(map(str, by_label)),
        }
        source = rows[kept] if budget.bound is not None else torch.full_like(rows[kept], -1)
        return PoisonSet(state["x"][kept], y[kept], source, stats)


def _starts(condition: Stationarity, train: Samples, starts: int, number: int) -> tuple[Tensor, Tensor]:
    """For each start and label, `number` rows of D_tr, those that cancel most under that label in the first start, the
    next ones in the next: rows and labels, (starts, C · number) each."""
    scores = condition.alignments(train)
    ranked = scores.argsort(dim=0, stable=True)
    places = torch.arange(starts * number, device=ranked.device) % len(train)
    rows = ranked[places].unflatten(0, (starts, number)).transpose(1, 2)
    labels = torch.arange(rows.shape[1], device=rows.device)[:, None].expand_as(rows)
    return rows.flatten(1), labels.flatten(1)
