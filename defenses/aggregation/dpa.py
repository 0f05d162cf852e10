"""Deep partition aggregation.

Levine & Feizi, "Deep Partition Aggregation: Provable Defenses against General Poisoning Attacks", ICLR 2021.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import torch
from torch import Tensor

from poisonbench.defenses.aggregation.ensemble import Aggregation
from poisonbench.plugins.registry import register
from poisonbench.problem.field_checks import check_integers


@register("dpa")
@dataclass(frozen=True)
class DPA(Aggregation):
    """Split the rows into k parts by a hash of each image, train a model on each, and let them vote.

    A row that is added or taken changes one model, so an answer that leads by more than twice as many votes stands:
    with N_c votes for it, ⌊(N_c − N_j − [j < c]) / 2⌋ rows, the least over the other labels j. To change a row is to
    take one and to add one.

    Departures from the paper: the hash is multilinear in the bits of the pixels rather than their sum, which on images
    of few grey levels puts very different numbers of rows into the parts; the models are the protocol's, trained by its
    recipe, where the paper has networks in networks and augments.

    Fields:
        k: number of models; the paper has 1,200 and 3,000 for MNIST, 50 to 1,000 for CIFAR-10.
    """

    version: ClassVar[int] = 1
    paper = "levine2021deep"
    cost = "k training runs on n / k rows each, the steps of one run if n / k fills batches; k models in memory"
    presets = MappingProxyType({"paper-mnist": {"k": 1200}})

    k: int = 50

    def __post_init__(self) -> None:
        check_integers(self, k=2)

    @property
    def models(self) -> int:
        """See Aggregation."""
        return self.k

    @property
    def offsets(self) -> Tensor:
        """See Aggregation."""
        return torch.zeros(1, dtype=torch.int64)
