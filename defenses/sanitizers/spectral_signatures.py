"""Spectral signatures: drop the rows whose features stand out along the direction in which their class varies most."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor

from poisonbench.defenses.base import Scores
from poisonbench.defenses.sanitizers.base import Sanitizer, groups
from poisonbench.defenses.sanitizers.singular_vectors import right_singular_vectors
from poisonbench.plugins.registry import register
from poisonbench.stages.stage import Stage


@register("spectral-signatures")
@dataclass(frozen=True)
class SpectralSignatures(Sanitizer):
    """Score = ⟨R(x) − mean, v⟩², with v the top right singular vector of the class's centred features R.

    The paper removes the top 1.5 ε examples of each class, with ε a bound on how many are poisoned. A filter here does
    not know ε and drops the part `fraction` of each class: 3 %, as every filter, or with the preset `paper` 4.5 %,
    which is 1.5 ε for the protocols' ε = 0.03. Its released code scores features that are not centred, |⟨R(x), v⟩|;
    this follows the paper.

    Fields:
        fraction, balanced: 3 % of every class goes.
        space: penultimate features of a model trained on all rows, as in the paper, or raw pixels, without training.
    """

    version: ClassVar[int] = 1
    paper = "tran2018spectral"
    cost = "two training runs, and 2 n d² + 9 C d³ operations; memory of the features and of three d × d matrices"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {"fraction": 0.045}}

    space: Literal["pixels", "features"] = "features"

    def anomaly(self, x: Tensor, y: Tensor, stage: Stage) -> Scores:
        """See Sanitizer."""
        scores = x.new_zeros(len(x))
        for rows in groups(y):
            part = x[rows]
            part -= part.mean(0)
            _, vectors = right_singular_vectors(part)
            scores[rows] = (part @ vectors[:, 0].to(part.dtype)).square()
        return Scores(scores)
