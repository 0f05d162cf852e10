"""Finite aggregation.

Wang, Levine & Feizi, "Improved Certified Defenses against Data Poisoning with (Deterministic) Finite Aggregation", ICML
2022.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import ClassVar

import torch
from torch import Tensor

from poisonbench.defenses.aggregation.ensemble import Aggregation
from poisonbench.plugins.registry import register
from poisonbench.problem.field_checks import check_integers
from poisonbench.seeding import child_generator


@register("finite-aggregation")
@dataclass(frozen=True)
class FiniteAggregation(Aggregation):
    """Split the rows into k · d parts by a hash of each image, give each part to d of k · d models, and let these vote.

    Every model has a k-th of the rows, as with `dpa`, but neighbours overlap, so that how many votes a row can turn
    depends on where they are; the certificate adds up what the r worst parts could turn. d = 1 is `dpa`. Departures
    from the paper: as those of `dpa`.

    Fields:
        k: one over the part of the rows that a model has.
        d: how many models a part is given to; the paper has 16 and more, and time grows with it.
    """

    version: ClassVar[int] = 1
    paper = "wang2022improved"
    cost = "k · d training runs on n / k rows each, so d times the steps of dpa; k · d models in memory"
    presets = MappingProxyType({"paper-mnist": {"k": 1200, "d": 16}})

    k: int = 50
    d: int = 4

    def __post_init__(self) -> None:
        check_integers(self, k=2, d=1)

    @property
    def models(self) -> int:
        """See Aggregation."""
        return self.k * self.d

    @property
    def offsets(self) -> Tensor:
        """See Aggregation: d different ones."""
        return _offsets(self.models)[: self.d]


@cache
def _offsets(models: int) -> Tensor:
    """All models in an order drawn once and for all."""
    return torch.randperm(models, generator=child_generator(0, "aggregation", "offsets"))
