"""Gradient shaping: train with clipped and noised gradients of single rows.

Hong, Chandrasekaran, Kaya, Dumitraș & Papernot, "On the Effectiveness of Mitigating Data Poisoning Attacks with
Gradient Shaping", 2020; the algorithm is Abadi et al.'s DP-SGD, CCS 2016.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poisonbench.defenses.base import TrainingDefense
from poisonbench.defenses.gradients.layers import LayerGradients
from poisonbench.defenses.gradients.norms import squared_gradient_norms
from poisonbench.errors import ConfigError
from poisonbench.models.base import Model
from poisonbench.plugins.registry import name_of, register
from poisonbench.problem.field_checks import check_numbers
from poisonbench.problem.procedure import Batch, Procedure, State
from poisonbench.problem.samples import Samples, Weights
from poisonbench.problem.views import DefenderView, Train
from poisonbench.stages.stage import Stage


@register("dp-sgd")
@dataclass(frozen=True)
class DPSGD(TrainingDefense):
    """Clip the gradient of every row to a norm C, add noise to their sum, and step along that.

        g = 1/b · ( Σ_i ∇ℓ_i · min(1, C / ‖∇ℓ_i‖) + N(0, σ² C² I) )

    So no row turns a step by more than C / b, however large its loss is; poison that works by large gradients is held.
    Gradients of rows are never written out: their norms come of what each layer met and what came back to it, and the
    clipped sum is the gradient of a weighted loss.

    Departures from the paper: batches are the recipe's shuffled ones rather than Poisson samples, and b is the size of
    each, of a last and smaller one too, where Abadi et al. divide by the expected size; no privacy is accounted for,
    which with little noise there is none of (the paper's point is that shaping works all the same). Models with batch
    statistics have no gradients of single rows and are refused. C and σ are not tuned.

    Fields:
        clip: the norm C.
        noise: σ, the noise's standard deviation over C; 0 clips and nothing else.
    """

    version: ClassVar[int] = 1
    paper = "hong2020effectiveness"
    cost = "one training run, each of its steps with a second forward and backward pass; memory of a batch"

    clip: float = 1.0
    noise: float = 0.1

    def __post_init__(self) -> None:
        check_numbers(self, "> 0", "clip")
        check_numbers(self, "≥ 0", "noise")

    def ready_for(self, model: Model) -> None:
        """See Defense."""
        image = torch.zeros(1, *model.shape)
        if model.buffers or not LayerGradients.cover(model, model.init(torch.Generator()), image):
            raise ConfigError(f"dp-sgd needs the gradient of every row; the model {name_of(type(model))!r} mixes rows.")

    def procedure(self, view: DefenderView, train: Train, stage: Stage) -> Procedure:
        """See TrainingDefense.

        Raises:
            ConfigError: for a model that has no gradients of single rows.
        """
        self.ready_for(view.model)
        return _Shaped(self.clip, self.noise)


class _Shaped(Procedure):
    """Steps along clipped and noised gradients."""

    def __init__(self, clip: float, noise: float) -> None:
        self._clip, self._noise = clip, noise

    def gradient(
        self, model: Model, weights: Weights, batch: Batch, state: State, generator: torch.Generator
    ) -> tuple[Tensor, list[Tensor]]:
        """See Procedure."""
        norms = squared_gradient_norms(model, weights, Samples(batch.x, batch.y, batch.rows)).sqrt()
        counted = self._clip / norms.clamp(min=self._clip)
        loss, gradients = model.weighted_gradient(weights, model.normalise(batch.x), batch.y, counted)
        scale = self._noise * self._clip / len(batch.y)
        noise = [torch.randn(part.shape, generator=generator).to(part) for part in gradients] if scale else gradients
        return loss, [part + scale * drawn for part, drawn in zip(gradients, noise, strict=True)]
