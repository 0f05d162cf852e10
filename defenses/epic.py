"""EPIc: drop rows that stand alone in gradient space, while training goes on.

Yang, Liu & Mirzasoleiman, "Not All Poisons are Created Equal: Robust Training against Data Poisoning", ICML 2022.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poisonbench.defenses.base import TrainingDefense
from poisonbench.defenses.facility_location import medoids
from poisonbench.errors import ConfigError
from poisonbench.models.base import Model
from poisonbench.plugins.registry import register
from poisonbench.problem.field_checks import check_integers, check_numbers
from poisonbench.problem.procedure import Procedure, State
from poisonbench.problem.samples import Samples, Weights
from poisonbench.problem.views import DefenderView, Train
from poisonbench.stages.stage import Stage


@register("epic")
@dataclass(frozen=True)
class EPIc(TrainingDefense):
    """From epoch K on, every T epochs, drop each row that is the only one of its medoid, for good.

        S_c = greedy argmax over |S| = k_c of Σ_{i ∈ V_c} max_{j ∈ S} (c − ‖g_i − g_j‖)
        V_c ← V_c without clusters of one row

    V_c are the rows of class c that are left, k_c a part of their number, and g_i = ∇ℓ_i in the logits, which holds
    most of how the whole gradient varies. Poison that works pulls otherwise than its class and is near to nothing,
    until the model has fitted it; so rows are looked at again and again.

    Every row was trained on for a while, so `kept` is all of them; the record does not know which went when.

    The authors' code has T = 2, K = 10 in 40 epochs and T = 10, K = 30 in 200, and stops at the last drop of the step
    size, 7/8 and 3/4 of the way. Recipes here differ in length, so these are parts of it, rounded to epochs. Departures
    from it: the paper's distances rather than exp(−distance / C); logits with their bias; clusters of the rows that are
    left, as in the paper, where it goes on clustering dropped ones. Images are as they are, whatever the recipe's
    augmentation. A class of fewer than 1 / medoids rows loses none.

    Fields:
        medoids: k_c as a part of V_c; the paper's 0.1, 0.2 and 0.3.
        every: T as a part of the epochs.
        warmup: K as a part of the epochs.
        until: part of the epochs after which nothing is dropped.
        threshold: the largest cluster that is dropped; the paper's is 1.
    """

    version: ClassVar[int] = 1
    paper = "yang2022not"
    cost = "one training run; a look costs a pass over the rows and some 2 ln k times their number squared, by class"

    medoids: float = 0.2
    every: float = 0.05
    warmup: float = 0.25
    until: float = 0.875
    threshold: int = 1

    def __post_init__(self) -> None:
        check_integers(self, threshold=1)
        check_numbers(self, "in (0, 1)", "medoids", "every")
        check_numbers(self, "in [0, 1)", "warmup")
        if not self.warmup < self.until <= 1:
            raise ConfigError(f"defense.until: expected a number above warmup and up to 1, got {self.until}.")

    def procedure(self, view: DefenderView, train: Train, stage: Stage) -> Procedure:
        """See TrainingDefense."""
        return _Dropping(self, view.model, view.train, view.recipe.epochs, stage)

    def looks(self, number: int, epochs: int) -> bool:
        """Whether rows are looked at before epoch `number` of so many."""
        every, first = max(1, round(self.every * epochs)), max(1, math.ceil(self.warmup * epochs))
        return first <= number <= self.until * epochs and (number - first) % every == 0


class _Dropping(Procedure):
    """Leaves rows out of the epochs."""

    def __init__(self, defense: EPIc, model: Model, rows: Samples, epochs: int, stage: Stage) -> None:
        self._defense, self._model, self._rows, self._epochs, self._stage = defense, model, rows, epochs, stage

    def state(self, samples: Samples) -> State:
        """See Procedure: which rows are left."""
        return {"left": torch.ones_like(samples.y, dtype=torch.bool)}

    def epoch(self, number: int, weights: Weights, state: State, generator: torch.Generator) -> Tensor | None:
        """See Procedure."""
        if self._defense.looks(number, self._epochs):
            left = state["left"].clone()
            rows = torch.nonzero(left).flatten()
            samples = self._rows.rows(rows)
            with self._stage.counted("medoids") as tick:
                alone = isolated(self._gradients(weights, samples), samples.y, self._defense, tick)
            left[rows[alone]] = False
            state["left"] = left
        return state["left"]

    def _gradients(self, weights: Weights, samples: Samples) -> Tensor:
        """The gradients of the losses in the logits, (n, C)."""
        logits = self._model.predict(weights, samples.x).requires_grad_()
        (found,) = torch.autograd.grad(self._model.losses(logits, samples.y).sum(), [logits])
        return found


def isolated(gradients: Tensor, y: Tensor, defense: EPIc, tick: Callable[[], None]) -> Tensor:
    """Which rows of gradients (n, C) and labels y are of a cluster of `threshold` rows at most, (n,), bool; ticks once
    a class."""
    found = torch.zeros_like(y, dtype=torch.bool)
    for label in y.unique().tolist():
        group = torch.nonzero(y == label).flatten()
        if k := int(defense.medoids * len(group)):
            _, owner = medoids(gradients[group], k)
            found[group] = torch.bincount(owner)[owner] <= defense.threshold
        if bool(found[group].all()):
            found[group] = False
        tick()
    return found
