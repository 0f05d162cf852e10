"""Linear multi-class support vector machine on pixels."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from poisonbench.models.linear import LinearModel
from poisonbench.models.margin import multiclass_hinge
from poisonbench.plugins.registry import register


@register("svm")
class LinearSVM(LinearModel):
    """One linear layer and Crammer and Singer's multi-class hinge loss (the paper's equation 38)."""

    version: ClassVar[int] = 1

    def losses(self, logits: Tensor, y: Tensor) -> Tensor:
        """See Model."""
        return multiclass_hinge(logits, y)

    def loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """See Model."""
        return torch.mean(multiclass_hinge(logits, y))
