"""SVD defense: drop the rows far from the subspace that holds most of the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poisonbench.defenses.base import Scores
from poisonbench.defenses.sanitizers.base import Sanitizer, groups
from poisonbench.defenses.sanitizers.singular_vectors import right_singular_vectors
from poisonbench.plugins.registry import register
from poisonbench.problem.field_checks import check_numbers
from poisonbench.stages.stage import Stage


@register("svd")
@dataclass(frozen=True)
class SVD(Sanitizer):
    """Score = distance of a row from the top singular subspace of the data, ‖(I − VVᵀ)(x − μ)‖₂.

    V holds the top k right singular vectors of the centred data matrix, with the smallest k whose singular values have
    Σ_{i ≤ k} σᵢ² ≥ energy · Σ σᵢ². The paper does not centre (`centred`); its released code has one vector less, and
    adds the class means to V, of whose norms at most 3 % lies outside V on MNIST.

    Fields:
        energy: part of the squared Frobenius norm that the subspace keeps; the paper allows an error of 0.05.
        centred: subtract the mean μ first. Else μ = 0, as in the paper, and the mean counts as energy that is kept: on
            MNIST's pixels it is 40 % of all, and k is 103 instead of 154.
        per_class: a mean and a subspace for each class. The paper has one for all.
        fraction, balanced: 3 % of every class goes; the paper's released code drops 5 % of every class.
        space: raw pixels, as in the paper and without training, or the penultimate features of a model trained on all.
    """

    version: ClassVar[int] = 1
    paper = "koh2022stronger"
    cost = "one training run, two on features, and 4 n d² + 9 d³ operations; memory of the rows and of d × d matrices"

    energy: float = 0.95
    centred: bool = True
    per_class: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_numbers(self, "in (0, 1)", "energy")

    def anomaly(self, x: Tensor, y: Tensor, stage: Stage) -> Scores:
        """See Sanitizer. stats: `k`, the dimension of the subspace, the largest if there are several."""
        scores, largest = x.new_zeros(len(x)), 0
        for rows in groups(y, self.per_class):
            part = x[rows]
            if self.centred:
                part -= part.mean(0)
            squares, vectors = right_singular_vectors(part)
            kept = squares.cumsum(0)
            k = int((kept < self.energy * kept[-1]).sum()) + 1
            # The length along the vectors left out: no difference of nearly equal numbers, as in x − VVᵀx.
            rest = vectors[:, k:].to(part.dtype)
            scores[rows] = torch.cat([torch.linalg.vector_norm(chunk @ rest, dim=1) for chunk in part.split(1024)])
            largest = max(largest, k)
        return Scores(scores, {"k": largest})
