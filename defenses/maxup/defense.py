"""MaxUp: train on the worst of several augmentations of each image.

Gong, Ren, Ye & Liu, "MaxUp: Lightweight Adversarial Training With Data Augmentation Improves Neural Network Training",
CVPR 2021.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from poisonbench.defenses.base import TrainingDefense
from poisonbench.defenses.maxup.augmentations import Augmentation, augmented
from poisonbench.models.base import Model
from poisonbench.plugins.registry import register
from poisonbench.problem.field_checks import check_integers, check_numbers
from poisonbench.problem.procedure import Batch, Procedure, State
from poisonbench.problem.samples import Weights
from poisonbench.problem.views import DefenderView, Train
from poisonbench.stages.stage import Stage


@register("maxup")
@dataclass(frozen=True)
class MaxUp(TrainingDefense):
    """Train each step on the worst of m copies of every image: itself and random augmentations of it.

        min_w  mean_i  max_{k ≤ m}  ℓ(w; x_i^(k), y_i)

    Copies are drawn anew for every step, and their losses taken in evaluation mode under the weights before it, without
    gradients; the step is taken on the copies of largest loss, for the gradient of a maximum is the gradient at the
    maximiser (Danskin). Of equal losses the earlier copy wins. m = 1 is plain training to the bit; the first copies of
    a larger m are those of a smaller one, so the objective never falls as m grows. Noise is to first order a penalty on
    the slope in the pixels, ℓ + c_m σ ‖∇_x ℓ‖ with c_4 = 0.89, as long as it is not clipped.

    Departures from the paper: the image itself is the first of the m copies, as in the implementation that Lu, Kamath &
    Yu follow, and copies are clipped to the box; `clean=false` draws all m, as Gong et al. do. Gong et al. augment by
    CutMix and Cutout, and treat Gaussian noise in theory and for certified robustness. Lu, Kamath & Yu say random
    perturbations and no more, and the implementation turns, mirrors and recolours whole photographs, which would make
    other digits of digits: so noise is the default here, with a sigma that hardly costs clean accuracy.

    Fields:
        m: copies of each image, Gong et al.'s 4 for ImageNet.
        augmentation: noise; crop (moved); crop-flip; cutout (a square is erased); affine (turned, moved, scaled).
        sigma: standard deviation of the noise, in [0, 1] units.
        clean: whether the image itself is one of the m.
    """

    version: ClassVar[int] = 1
    paper = "gong2021maxup"
    cost = "one training run, each of its steps with m − 1 augmentations and m forward passes more; memory of a batch"

    m: int = 4
    augmentation: Augmentation = "noise"
    sigma: float = 0.1
    clean: bool = True

    def __post_init__(self) -> None:
        check_integers(self, m=1)
        check_numbers(self, "≥ 0", "sigma")

    def procedure(self, view: DefenderView, train: Train, stage: Stage) -> Procedure:
        """See TrainingDefense."""
        return _Worst(self, view.model)


class _Worst(Procedure):
    """Of every image the copy of largest loss."""

    def __init__(self, defense: MaxUp, model: Model) -> None:
        self._defense, self._model = defense, model

    def batch(self, weights: Weights, batch: Batch, state: State, generator: torch.Generator) -> Batch:
        """See Procedure."""
        defense, x = self._defense, batch.x
        chosen = x if defense.clean else augmented(x, defense.augmentation, defense.sigma, generator)
        if defense.m == 1:
            return replace(batch, x=chosen)
        largest = self._losses(weights, chosen, batch.y)
        for _ in range(defense.m - 1):
            copy = augmented(x, defense.augmentation, defense.sigma, generator)
            losses = self._losses(weights, copy, batch.y)
            chosen = torch.where((losses > largest)[:, None, None, None], copy, chosen)
            largest = torch.maximum(losses, largest)
        return replace(batch, x=chosen)

    def _losses(self, weights: Weights, x: Tensor, y: Tensor) -> Tensor:
        return self._model.losses(self._model.predict(weights, x), y)
