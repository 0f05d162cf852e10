"""Rows of data: samples, whole datasets, poison sets; and a model's weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

Weights = dict[str, Tensor]
"""A model's parameters and buffers by name."""


@dataclass(frozen=True)
class Samples:
    """Images, labels and stable ids, row by row.

    Attributes:
        x: images, (n, channels, height, width), float32, pixels in [0, 1].
        y: labels, (n,), int64.
        ids: where each row came from, (n,), int64: its row number in the dataset's canonical order; poison rows count
            down from −1.
    """

    x: Tensor
    y: Tensor
    ids: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def rows(self, index: Tensor | slice) -> Samples:
        """The samples of those rows, in that order (an index, a mask or a slice)."""
        return Samples(self.x[index], self.y[index], self.ids[index])

    def none(self) -> Samples:
        """No rows of that kind, in memory of their own: an empty slice leads back to what it was taken from."""
        return Samples(*(part.new_empty((0, *part.shape[1:])) for part in (self.x, self.y, self.ids)))

    def copy(self) -> Samples:
        """The same rows in memory of their own."""
        return Samples(self.x.clone(), self.y.clone(), self.ids.clone())

    def to(self, device: torch.device) -> Samples:
        """The same rows on another device."""
        return Samples(self.x.to(device), self.y.to(device), self.ids.to(device))

    def plus(self, other: Samples) -> Samples:
        """These rows, then the other's."""
        return Samples(torch.cat([self.x, other.x]), torch.cat([self.y, other.y]), torch.cat([self.ids, other.ids]))


@dataclass(frozen=True)
class Dataset:
    """A whole dataset with its canonical train and test parts.

    Attributes:
        name: as registered.
        sha256: of the canonical uint8 content.
        train: the clean training pool, before it is split into D_tr and D_v.
        test: the test set; only the runner sees it.
        classes: number of classes C.
        mean: per-channel mean that a model's first layer subtracts.
        std: per-channel scale that a model's first layer divides by.
    """

    name: str
    sha256: str
    train: Samples
    test: Samples
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of an image: channels, height, width."""
        _, channels, height, width = self.train.x.shape
        return channels, height, width


@dataclass(frozen=True)
class PoisonSet:
    """The poison points that an attack returns.

    Attributes:
        x: poisoned images, (n_poison, channels, height, width), float32, pixels in [0, 1] unless the threat has no box.
        y: their labels, (n_poison,), int64.
        source: the row of D_tr that each was made from, (n_poison,), int64, or −1 for a point made from nothing.
        stats: evidence to keep in the record (solver steps, residual, converged; losses): JSON scalars by name.
    """

    x: Tensor
    y: Tensor
    source: Tensor
    stats: Mapping[str, float | int | str | bool] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.y)
