"""What both aggregations do: models of their own buckets of rows, and one vote each."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from poisonbench.defenses.aggregation.certificate import certified_rows
from poisonbench.defenses.aggregation.partitions import buckets, in_order
from poisonbench.defenses.base import Defense
from poisonbench.problem.predictor import Vote
from poisonbench.problem.views import Defended, DefenderView, Train
from poisonbench.stages.stage import Stage


@dataclass(frozen=True)
class Aggregation(Defense):
    """Model m is trained on the buckets m − offset, modulo the number of models, for each of `offsets`; rows of a
    bucket are taken in an order of their own, and every training has the same random stream, so that a model is a
    function of its set of rows."""

    @property
    @abstractmethod
    def models(self) -> int:
        """How many models vote."""

    @property
    @abstractmethod
    def offsets(self) -> Tensor:
        """Which models a bucket is given to, from its own on, (d,), int64, different ones below `models`."""

    def defend(self, view: DefenderView, train: Train, stage: Stage) -> Defended:
        """See Defense."""
        rows = torch.arange(len(view.train), device=view.train.y.device)
        bucket, offsets = buckets(view.train, self.models), self.offsets
        models, sizes = [], []
        for model in range(self.models):
            mine = torch.isin(bucket, ((model - offsets) % self.models).to(bucket.device))
            models.append(train(view.train.rows(in_order(view.train, rows[mine]))))
            sizes.append(int(mine.sum()))
        stats = {"models": self.models, "smallest": min(sizes), "largest": max(sizes)}
        return Defended(Vote(tuple(models)), torch.ones(len(rows), dtype=torch.bool, device=rows.device), stats=stats)

    def certify(self, votes: Tensor, classes: int, rows: int) -> Tensor:
        """See Defense."""
        return certified_rows(votes, classes, self.offsets)
