"""What a defense is, and the family that removes suspicious rows and retrains."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from poisonbench.errors import ConfigError, ValidationError
from poisonbench.registry import name_of
from poisonbench.stage import Stage
from poisonbench.types import Defended, DefenderView, Train, Weights


@dataclass(frozen=True)
class Defense(ABC):
    """A defense. Subclasses are frozen dataclasses registered with `@register("name")`; their fields are stored in
    every record.

    Class attributes:
        paper: key of the method's entry in bibliography.yaml; None for a plugin that has none.
        cost: one line on time and memory.
    """

    paper: ClassVar[str | None] = None
    cost: ClassVar[str] = ""

    @abstractmethod
    def defend(self, view: DefenderView, train: Train, stage: Stage) -> Defended:
        """Return a model trained on what the view holds, or on a part of it.

        Args:
            view: one training set, poison unmarked, and a clean validation set; must not be changed.
            train: trains the target model from scratch on any rows, always with the protocol's recipe and seed stream.
            stage: random stream, device, progress, checkpoint, deadline.
        """


@dataclass(frozen=True)
class FilterDefense(Defense):
    """Train, score every row, drop the most suspicious, train again from scratch.

    Fields:
        fraction: part of the training set dropped in a round.
        rounds: how often; each round scores with a model trained on what the last one kept.
    """

    fraction: float = 0.03
    rounds: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.fraction * self.rounds < 1:
            raise ConfigError("defense.fraction · defense.rounds: expected a number in (0, 1).")

    @abstractmethod
    def score(self, view: DefenderView, weights: Weights, stage: Stage) -> Tensor:
        """One suspicion score a row of `view.train`, (n,), higher is more suspicious, from a model trained on it."""

    @final
    def defend(self, view: DefenderView, train: Train, stage: Stage) -> Defended:
        """See Defense. The scores returned are those of the last round a row took part in."""
        n = len(view.train)
        quota = int(self.fraction * n + 1e-9)
        rows = torch.arange(n, device=view.train.y.device)
        scores = torch.zeros(n, device=view.train.y.device)
        for _ in range(self.rounds):
            part = DefenderView(view.train.rows(rows), view.validation, view.model, view.recipe, view.classes)
            scored = self.score(part, train(part.train), stage)
            if scored.shape != (len(rows),) or not bool(torch.isfinite(scored).all()):
                raise ValidationError(f"{name_of(type(self))} must give one finite score a row.")
            scores[rows] = scored.to(scores.dtype)
            rows = rows[drop_top(scored, quota)]
        kept = torch.zeros(n, dtype=torch.bool, device=rows.device)
        kept[rows] = True
        lost = set(view.train.y.unique().tolist()) - set(view.train.y[kept].unique().tolist())
        if lost:
            raise ValidationError(
                f"{name_of(type(self))} removed every row of class {sorted(lost)[0]}. Lower defense.fraction."
            )
        return Defended(train(view.train.rows(kept)), kept, scores)


def drop_top(scores: Tensor, quota: int) -> Tensor:
    """The rows left, in order, when the `quota` highest scores go. Exactly `quota` rows go: of equal scores the earlier
    rows, where a cut at a quantile would take a whole block of them."""
    order = scores.argsort(descending=True, stable=True)
    return order[quota:].sort().values
