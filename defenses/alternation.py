"""Selection by alternation: fit a model to the rows that are kept, keep the rows that it fits best, and again."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from poisonbench.defenses.base import Scores, Selection, SelectionDefense, refuse_lost_classes, refuse_unsound_scores
from poisonbench.defenses.quotas import Quotas
from poisonbench.problem.field_checks import check_integers, check_numbers
from poisonbench.problem.views import DefenderView, Train
from poisonbench.stages.stage import Stage

Fit = Callable[[Tensor], Scores]
"""kept, (n,), bool ↦ the losses of all n rows, kept or not, under a model of the kept ones."""


@dataclass(frozen=True)
class Alternation(SelectionDefense):
    """Look for the rows whose own model fits them best: of all subsets S of that size, min over S and θ of Σ_S ℓ(θ).

    Every round chooses out of the whole training set, so a row that was dropped may come back; a FilterDefense's rounds
    take from what is left. It ends when a round keeps the rows that it kept before, from where on nothing would change.

    Fields:
        fraction: part of the training set that is dropped.
        rounds: how often at most.
        balanced: whether that part of every class goes, rather than of all rows together.
    """

    fraction: float = 0.03
    rounds: int = 8
    balanced: bool = False

    def __post_init__(self) -> None:
        check_integers(self, rounds=1)
        check_numbers(self, "in (0, 1)", "fraction")

    @abstractmethod
    def first(self, view: DefenderView, quotas: Quotas, stage: Stage) -> Tensor:
        """The rows that the first model is fitted to, (n,), bool."""

    @abstractmethod
    def fit(self, view: DefenderView, train: Train, stage: Stage) -> Fit:
        """How a model is fitted; it may go on from where the last round's ended."""

    @final
    def select(self, view: DefenderView, train: Train, stage: Stage) -> Selection:
        """See SelectionDefense; the scores are the losses of the last round.

        Raises:
            ValidationError: for losses that are none, or if a class loses all of its rows in any round.
        """
        y = view.train.y
        quotas = Quotas.of(self.fraction, y, self.balanced)
        fit, kept = self.fit(view, train, stage), self.first(view, quotas, stage)
        rounds, settled = 0, False
        while rounds < self.rounds and not settled:
            rounds, losses = rounds + 1, fit(kept)
            refuse_unsound_scores(self.name, losses.values, len(y))
            before, kept = kept, quotas.left(losses.values, y)
            refuse_lost_classes(self.name, y, kept)
            settled = torch.equal(before, kept)
        return Selection(kept, losses.values, {**losses.stats, "rounds": rounds, "settled": settled})
