"""Early stopping on trusted rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poisonbench.defenses.base import TrainingDefense
from poisonbench.errors import ConfigError
from poisonbench.models.base import Model
from poisonbench.plugins.registry import register
from poisonbench.problem.procedure import Procedure, State
from poisonbench.problem.samples import Samples, Weights
from poisonbench.problem.views import DefenderView, Train
from poisonbench.stages.stage import Stage


@register("early-stopping")
@dataclass(frozen=True)
class EarlyStopping(TrainingDefense):
    """Keep the weights of the epoch whose mean loss on the trusted rows is least (Prechelt, 1998).

    Unlearnable examples are fitted late or lost early (Sandoval-Segura et al., NeurIPS 2022, show test accuracy that
    peaks in the first epochs), so the best epoch is not the last. All epochs are run, since no patience is known to be
    enough; of equal losses the earlier epoch wins. The learning rate follows the recipe's whole schedule, so under a
    cosine an early epoch's weights have not settled.
    """

    version: ClassVar[int] = 1
    paper = "prechelt1998early"
    cost = "one training run, and a pass over the trusted rows an epoch"
    trusted_data = True

    def procedure(self, view: DefenderView, train: Train, stage: Stage) -> Procedure:
        """See TrainingDefense.

        Raises:
            ConfigError: without trusted rows, by which no epoch is better than none.
        """
        if not len(view.trusted):
            raise ConfigError("early-stopping needs trusted rows, and there are none.")
        return _BestEpoch(view.model, view.trusted)


class _BestEpoch(Procedure):
    """Remembers the weights of least loss."""

    def __init__(self, model: Model, trusted: Samples) -> None:
        self._model, self._trusted = model, trusted

    def state(self, samples: Samples) -> State:
        """See Procedure: the least loss, and the weights that had it."""
        device = samples.x.device
        weights = self._model.init(torch.Generator())
        return {"loss": torch.tensor(torch.inf, device=device), **{n: v.to(device) for n, v in weights.items()}}

    def epoch(self, number: int, weights: Weights, state: State, generator: torch.Generator) -> Tensor | None:
        """See Procedure: looks at the epoch before."""
        if number:
            self._look(weights, state)
        return None

    def result(self, weights: Weights, state: State) -> Weights:
        """See Procedure."""
        self._look(weights, state)
        return {name: state[name] for name in weights}

    def _look(self, weights: Weights, state: State) -> None:
        loss = self._model.losses(self._model.predict(weights, self._trusted.x), self._trusted.y).mean()
        if loss < state["loss"]:
            state.update({"loss": loss.detach(), **{name: value.detach() for name, value in weights.items()}})
