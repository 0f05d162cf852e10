"""L2 (sphere) defense: drop the rows far from their class's centre."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from poisonbench.defenses.base import Scores
from poisonbench.defenses.sanitizers.base import Sanitizer, groups
from poisonbench.plugins.registry import register
from poisonbench.stages.stage import Stage


@register("l2")
@dataclass(frozen=True)
class L2(Sanitizer):
    """Score = distance of a row from its class's centroid, ‖x − μ_y‖₂.

    Fields:
        centre: μ_y: the mean, as in the paper, or the coordinate-wise median, which a few far rows cannot move far.
        fraction, balanced: 3 % of every class goes; the paper's radii are quantiles of each class's distances too.
        space: raw pixels, as in the paper and without training, or the penultimate features of a model trained on all.
    """

    version: ClassVar[int] = 1
    paper = "steinhardt2017certified"
    cost = "one training run, two on features, and one pass over the data; memory of one class's rows"

    centre: Literal["mean", "median"] = "mean"

    def anomaly(self, x: Tensor, y: Tensor, stage: Stage) -> Scores:
        """See Sanitizer."""
        scores = x.new_zeros(len(x))
        for rows in groups(y):
            part = x[rows]
            mu = part.mean(0) if self.centre == "mean" else _median(part)
            scores[rows] = torch.linalg.vector_norm(part - mu, dim=1)
        return Scores(scores)


def _median(x: Tensor) -> Tensor:
    """The median of each column: torch gives the lower of the two middle values, and of −x minus the upper."""
    return (x.median(0).values - (-x).median(0).values) / 2
