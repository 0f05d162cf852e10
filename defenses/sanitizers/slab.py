"""Slab defense: drop the rows far from their class's centroid along the line to the other classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from poisonbench.defenses.base import Scores
from poisonbench.defenses.sanitizers.base import Sanitizer, groups
from poisonbench.plugins.registry import register
from poisonbench.stages.stage import Stage


@register("slab")
@dataclass(frozen=True)
class Slab(Sanitizer):
    """Score = distance of a row from its class's centroid along the line to the others, |⟨x − μ_y, β_y⟩|.

    The paper has two classes and β = μ₊ − μ₋. Here every class stands against the rest: β_y is the unit vector along
    μ_y − (mean of the other centroids). For two classes that is ±β / ‖β‖: the paper's scores up to one factor, so the
    same rows go. What a row does orthogonally to β_y is not seen. One class alone has β_y = 0.

    Fields:
        fraction, balanced: 3 % of every class goes; the paper's radii are quantiles of each class's distances too.
        space: raw pixels, as in the paper and without training, or the penultimate features of a model trained on all.
    """

    version: ClassVar[int] = 1
    paper = "steinhardt2017certified"
    cost = "one training run, two on features, and two passes over the data; memory of one class's rows"

    def anomaly(self, x: Tensor, y: Tensor, stage: Stage) -> Scores:
        """See Sanitizer."""
        members = groups(y)
        mu = torch.stack([x[rows].mean(0) for rows in members])
        # μ_y − mean of the others = C / (C − 1) · (μ_y − mean of all), and a single class has no direction at all.
        beta = F.normalize(mu - mu.mean(0))
        scores = x.new_zeros(len(x))
        for rows, centroid, direction in zip(members, mu, beta, strict=True):
            scores[rows] = ((x[rows] - centroid) @ direction).abs()
        return Scores(scores)
