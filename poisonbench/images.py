"""Images that are read some rows at a time, wherever they lie: what checks ask of a whole set, in little memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

BLOCK = 2**20
"""Bytes of float32 that a check looks at together."""


class Images(Protocol):
    """Rows by number, in the first dimension: a tensor, or what stands for one and reads the rows it is asked for."""

    @property
    def shape(self) -> Sequence[int]:
        """Of all rows: (n, …)."""

    @property
    def dtype(self) -> torch.dtype:
        """The type of what is read."""

    def __getitem__(self, rows: slice | Tensor, /) -> Tensor:
        """Those rows: a slice without a step, or row numbers, (k,), int64, in any order."""


@dataclass(frozen=True)
class Selection:
    """Some rows of a set, in an order of their own; none is read before it is asked for.

    Attributes:
        images: the whole set.
        order: row numbers, (n,), int64.
    """

    images: Images
    order: Tensor

    @property
    def shape(self) -> Sequence[int]:
        """See Images."""
        return (len(self.order), *self.images.shape[1:])

    @property
    def dtype(self) -> torch.dtype:
        """See Images."""
        return self.images.dtype

    def __getitem__(self, rows: slice | Tensor, /) -> Tensor:
        """See Images."""
        return self.images[self.order[rows]]


def rows_at_once(shape: Sequence[int]) -> int:
    """How many rows of that shape, (n, …), make a block; at least one."""
    return max(1, BLOCK // max(1, 4 * math.prod(shape[1:])))


def blocks(shape: Sequence[int]) -> Iterator[slice]:
    """The rows of a set of that shape, (n, …), block by block, in order."""
    step = rows_at_once(shape)
    return (slice(start, min(start + step, shape[0])) for start in range(0, shape[0], step))
