"""Mixtures of images with mixed labels: mixup and CutMix.

Zhang, Cissé, Dauphin & Lopez-Paz, "mixup: Beyond Empirical Risk Minimization", ICLR 2018; Yun et al., "CutMix:
Regularization Strategy to Train Strong Classifiers with Localizable Features", ICCV 2019; against poison Borgnia et
al., "Strong Data Augmentation Sanitizes Poisoning and Backdoor Attacks Without an Accuracy Tradeoff", ICASSP 2021.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from poisonbench.defenses.base import TrainingDefense
from poisonbench.plugins.registry import register
from poisonbench.problem.field_checks import check_numbers
from poisonbench.problem.procedure import Batch, Procedure, State
from poisonbench.problem.samples import Weights
from poisonbench.problem.views import DefenderView, Train
from poisonbench.stages.stage import Stage


@dataclass(frozen=True)
class Mixing(TrainingDefense):
    """Train each step on mixtures of the batch with itself in another order, labels mixed in the same parts. One part
    λ ~ Beta(α, α) is drawn a step, as in the papers' code. `svm` has the expected hinge loss over the mixed labels.

    Fields:
        alpha: α; 1 draws λ uniformly.
    """

    cost = "one training run"

    alpha: float = 1.0

    def __post_init__(self) -> None:
        check_numbers(self, "> 0", "alpha")

    @abstractmethod
    def mixed(self, x: Tensor, other: Tensor, part: float, generator: torch.Generator) -> tuple[Tensor, float]:
        """The mixtures of images with others, both (n, channels, height, width), of which about `part` is the first,
        and how much of it really is."""

    def procedure(self, view: DefenderView, train: Train, stage: Stage) -> Procedure:
        """See TrainingDefense."""
        return _Mixed(self, view.classes)


@register("mixup")
@dataclass(frozen=True)
class Mixup(Mixing):
    """Train on sums λ x_i + (1 − λ) x_j of images, with labels λ y_i + (1 − λ) y_j; see Mixing."""

    version: ClassVar[int] = 1
    paper = "zhang2018mixup"

    def mixed(self, x: Tensor, other: Tensor, part: float, generator: torch.Generator) -> tuple[Tensor, float]:
        """See Mixing."""
        return part * x + (1 - part) * other, part


@register("cutmix")
@dataclass(frozen=True)
class CutMix(Mixing):
    """Train on images with a box of another image, one box a step, its centre anywhere, its sides √(1 − λ) of the
    image's and cut off at the border; labels are mixed by area; see Mixing.

    Every step is mixed, as the authors do for ImageNet; for CIFAR their code mixes half of the steps, drawn at random.
    Their box has one row or column less where the side is odd.
    """

    version: ClassVar[int] = 1
    paper = "yun2019cutmix"

    def mixed(self, x: Tensor, other: Tensor, part: float, generator: torch.Generator) -> tuple[Tensor, float]:
        """See Mixing."""
        height, width = x.shape[2:]
        sides = [int(size * (1 - part) ** 0.5) for size in (height, width)]
        centres = [int(torch.randint(size, (), generator=generator)) for size in (height, width)]
        (top, bottom), (left, right) = (
            (max(0, centre - side // 2), min(size, centre - side // 2 + side))
            for centre, side, size in zip(centres, sides, (height, width), strict=True)
        )
        cut = x.clone()
        cut[:, :, top:bottom, left:right] = other[:, :, top:bottom, left:right]
        return cut, 1 - (bottom - top) * (right - left) / (height * width)


class _Mixed(Procedure):
    """Steps on mixtures."""

    def __init__(self, defense: Mixing, classes: int) -> None:
        self._defense, self._classes = defense, classes

    def batch(self, weights: Weights, batch: Batch, state: State, generator: torch.Generator) -> Batch:
        """See Procedure."""
        seed = int(torch.randint(2**63 - 1, (), generator=generator))
        part = float(np.random.default_rng(seed).beta(self._defense.alpha, self._defense.alpha))
        order = torch.randperm(len(batch.y), generator=generator).to(batch.y.device)
        labels = F.one_hot(batch.y, self._classes).to(batch.x.dtype)
        x, part = self._defense.mixed(batch.x, batch.x[order], part, generator)
        return replace(batch, x=x, y=part * labels + (1 - part) * labels[order])
