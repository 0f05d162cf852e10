"""How a training run may depart from plain training: the places of the loop that a defense can take over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from poisonbench.problem.samples import Samples, Weights

if TYPE_CHECKING:
    from poisonbench.models.base import Model

State = dict[str, Tensor]
"""What a procedure keeps through a run, by name: saved with the run, so that a killed one goes on to the same bits."""


@dataclass(frozen=True)
class Batch:
    """What one step of training is taken on.

    Attributes:
        rows: which rows of the samples, (n,), int64.
        x: images, (n, channels, height, width), in [0, 1].
        y: labels, (n,), int64, or soft ones, (n, C): probabilities of the dtype of x.
        weights: what each row counts in the loss, the mean of weight · loss: (n,), of the dtype of x; None: all 1.
    """

    rows: Tensor
    x: Tensor
    y: Tensor
    weights: Tensor | None = None


class Procedure:
    """A training run that departs from plain training. Override the places that do; the inherited ones change nothing,
    to the bit. Whatever they draw, initial weights and orders of rows are drawn as without them.

    Weights, batches and state are the procedure's own copies but for `state`, which it changes by assignment:
    `state[name] = …`, with the names, shapes and dtypes that it began with.
    """

    def state(self, samples: Samples) -> State:
        """What it keeps through a run on these samples, as it is at the beginning."""
        return {}

    def epoch(self, number: int, weights: Weights, state: State, generator: torch.Generator) -> Tensor | None:
        """The rows that epoch `number` (from 0) goes through, (n,), bool; None for all."""
        return None

    def batch(self, weights: Weights, batch: Batch, state: State, generator: torch.Generator) -> Batch:
        """What a step is taken on in the place of a batch, as many rows. Its images are those that the recipe's
        augmentation gives."""
        return batch

    def gradient(
        self, model: Model, weights: Weights, batch: Batch, state: State, generator: torch.Generator
    ) -> tuple[Tensor, list[Tensor]]:
        """The loss of a batch and the gradient that the optimizer is given, in the order of `model.parameters`; the
        weights are leaves that require gradients."""
        return model.weighted_gradient(weights, model.normalise(batch.x), batch.y, batch.weights)

    def result(self, weights: Weights, state: State) -> Weights:
        """The weights that the run returns, from those of its last step."""
        return weights
