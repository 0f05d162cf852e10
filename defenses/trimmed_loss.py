"""Iterative trimmed loss minimisation: train on the rows of least loss, out of all rows, again and again.

Shen & Sanghavi, "Learning with Bad Training Data via Iterative Trimmed Loss Minimization", ICML 2019.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poisonbench.defenses.alternation import Alternation, Fit
from poisonbench.defenses.base import Scores
from poisonbench.defenses.quotas import Quotas
from poisonbench.plugins.registry import register
from poisonbench.problem.views import DefenderView, Train
from poisonbench.stages.stage import Stage


@register("trimmed-loss")
@dataclass(frozen=True)
class TrimmedLoss(Alternation):
    """Alternate between training on S_t and S_{t+1} = all rows but the ⌊(1 − α) n⌋ of highest loss; S_0 is everything.

    The last S is trained on once more. `loss` is the first round; where it runs several, each drops from what the last
    one left, and a row that went in error is lost.

    The paper's update may go on from the last weights or start anew, with a number of steps that may differ by round.
    Here every round trains from scratch with the whole recipe: the authors' code initialises the network anew each time
    too. Its early rounds are of 20 epochs, by which bad rows are not fitted yet, and each returns the epoch of highest
    accuracy on held-out rows that are noisy as well; a protocol's recipe is one and holds none out, so that its last
    epoch counts. Its rounds are eight, as here unless S stands still before.

    Fields:
        fraction: 1 − α, part of the training set that is dropped.
        rounds: how often at most.
        balanced: whether that part of every class goes, rather than of all rows together.
    """

    version: ClassVar[int] = 1
    paper = "shen2019learning"
    cost = "up to rounds + 1 training runs and rounds passes over the data"

    def first(self, view: DefenderView, quotas: Quotas, stage: Stage) -> Tensor:
        """See Alternation."""
        return torch.ones_like(view.train.y, dtype=torch.bool)

    def fit(self, view: DefenderView, train: Train, stage: Stage) -> Fit:
        """See Alternation."""

        def losses(kept: Tensor) -> Scores:
            weights = train(view.train.rows(kept))
            with torch.no_grad():
                return Scores(view.model.losses(view.model.predict(weights, view.train.x), view.train.y))

        return losses
