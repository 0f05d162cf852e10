"""Data sanitization: filters that know where rows lie and how they are labelled, not how they change a model."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from poisonbench.defenses.base import FilterDefense, Scores
from poisonbench.problem.samples import Weights
from poisonbench.problem.views import DefenderView
from poisonbench.stages.stage import Stage


@dataclass(frozen=True)
class Sanitizer(FilterDefense):
    """Score each row by an anomaly score s_β(x, y) whose parameters β come from the same, poisoned rows.

    Fields:
        fraction: part dropped. Koh, Steinhardt & Liang's code drops 5 %; Lu, Kamath & Yu drop 3 % with every filter.
        balanced: drop that part of every class. The sanitizers' papers do: their threshold τ_y is a quantile of the
            class's own scores, which makes classes of different spread comparable.
            The number is rounded down in every class, where Koh, Steinhardt & Liang's code rounds what it keeps: of
            the digits' 93 rows a class 2 go, 21 rows in all, where 3 % of all together are 28.
        space: what x is: raw pixels, flat, in [0, 1], or the penultimate activations of a model trained on all rows
            (the normalised pixels if the model is linear). Pixels need no training.
    """

    balanced: bool = True
    space: Literal["pixels", "features"] = "pixels"

    @property
    def uses_model(self) -> bool:
        """See FilterDefense."""
        return self.space == "features"

    @final
    def score(self, view: DefenderView, weights: Weights, stage: Stage) -> Scores:
        """See FilterDefense."""
        x = view.model.embed(weights, view.train.x) if self.uses_model else view.train.x.flatten(1)
        return self.anomaly(x, view.train.y, stage)

    @abstractmethod
    def anomaly(self, x: Tensor, y: Tensor, stage: Stage) -> Scores:
        """The anomaly score s_β(x, y) of each row, (n,), higher is more anomalous; β is estimated from these rows.

        Args:
            x: points, (n, d); must not be changed.
            y: labels, (n,).
            stage: progress, deadline.
        """


def groups(y: Tensor, per_class: bool = True) -> list[Tensor]:
    """The row numbers of each label in y, (n,), one tensor a label; or of all rows together, if not `per_class`."""
    rows = torch.arange(len(y), device=y.device)
    return [rows[y == label] for label in y.unique().tolist()] if per_class else [rows]
