"""A hinge that can be differentiated twice: its smooth upper bound, and the support vector machine with it."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from poisonbench.models.base import Model
from poisonbench.models.linear import is_affine
from poisonbench.models.svm import LinearSVM


@dataclass(frozen=True)
class SmoothSVM(LinearSVM):
    """A linear SVM with t · log Σ_j exp((s_j + [j ≠ y] − s_y) / t) for the hinge max_j (s_j + [j ≠ y] − s_y).

    At most t · log C above the hinge, and the hinge itself as t falls to 0. For two classes with one score it is the
    SmoothHinge of Koh & Liang, ICML 2017.

    Attributes:
        temperature: t.
    """

    temperature: float = 0.1

    def losses(self, logits: Tensor, y: Tensor) -> Tensor:
        """See Model."""
        t = self.temperature
        return t * F.cross_entropy(raised(logits.T, y, t).T, y, reduction="none")

    def loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """See Model."""
        return self.losses(logits, y).mean()


def raised(scores: Tensor, y: Tensor, temperature: float | None) -> Tensor:
    """The scores, (C, n), whose cross entropy, times T, is the smooth bound of the hinge; as they are without T."""
    if temperature is None:
        return scores
    return (scores + 1 - F.one_hot(y, len(scores)).T) / temperature


def smoothed(model: Model, temperature: float) -> Model:
    """The model, with a smooth loss if its own is the hinge, of logits W z + b."""
    if not (is_affine(model) and type(model).losses is LinearSVM.losses):
        return model
    return SmoothSVM(model.shape, model.classes, model.mean, model.std, temperature)
