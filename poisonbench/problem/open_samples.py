"""Rows of data whose images stay where they are until some are asked for: what a judge of poison sets reads.

Attacks, defenses and trainings are given samples, datasets and poison sets that are in memory (samples.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from poisonbench.images import Images, Selection
from poisonbench.problem.samples import Dataset, PoisonSet, Samples


@dataclass(frozen=True)
class OpenSamples:
    """Samples whose images are read when they are asked for.

    Attributes:
        x: images, (n, channels, height, width), float32, pixels in [0, 1].
        y: labels, (n,), int64.
        ids: as those of Samples.
    """

    x: Images
    y: Tensor
    ids: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def rows(self, index: Tensor) -> OpenSamples:
        """The samples of those row numbers, in that order; reads no image."""
        return OpenSamples(Selection(self.x, index), self.y[index], self.ids[index])

    def load(self) -> Samples:
        """The same in memory."""
        return Samples(self.x[:], self.y, self.ids)


@dataclass(frozen=True)
class OpenDataset:
    """A dataset whose images are read when they are asked for; attributes as those of Dataset."""

    name: str
    sha256: str
    train: OpenSamples
    test: OpenSamples
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of an image: channels, height, width."""
        _, channels, height, width = self.train.x.shape
        return channels, height, width

    def load(self) -> Dataset:
        """The same in memory."""
        return Dataset(self.name, self.sha256, self.train.load(), self.test.load(), self.classes, self.mean, self.std)


@dataclass(frozen=True)
class OpenPoison:
    """A poison set of which nothing is read before it is asked for, since nobody vouches for shapes and types.

    Attributes:
        x: images, as those of PoisonSet.
        y: their labels.
        source: the row of D_tr that each was made from, or −1.
    """

    x: Images
    y: Images
    source: Images

    def __len__(self) -> int:
        return self.y.shape[0]

    def load(self) -> PoisonSet:
        """The same in memory."""
        return PoisonSet(self.x[:], self.y[:], self.source[:])
