"""How many rows go: the same part of all rows together, or of every class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

_ALL = -1


@dataclass(frozen=True)
class Quotas:
    """The number of rows that go by label, or of all together.

    Attributes:
        counts: by label; −1 is all rows together.
    """

    counts: Mapping[int, int]

    @classmethod
    def of(cls, fraction: float, y: Tensor, balanced: bool) -> Quotas:
        """The quotas of a set with labels y, (n,): ⌊fraction · n⌋, or that of every class."""
        sizes = {label: int((y == label).sum()) for label in y.unique().tolist()} if balanced else {_ALL: len(y)}
        return cls({label: int(fraction * size + 1e-9) for label, size in sizes.items()})

    def left(self, scores: Tensor, y: Tensor) -> Tensor:
        """Which rows stay when those with the highest scores go, (n,), bool, for scores and labels y, (n,)."""
        left = torch.ones(len(y), dtype=torch.bool, device=y.device)
        for label, count in self.counts.items():
            group = torch.nonzero((y == label) | (label == _ALL)).flatten()
            left[group[top(scores[group], count)]] = False
        return left


def top(scores: Tensor, quota: int) -> Tensor:
    """The rows with the `quota` highest scores. Exactly so many: of equal scores the earlier rows, where a cut at a
    quantile would take a whole block of them."""
    return scores.argsort(descending=True, stable=True)[:quota]
