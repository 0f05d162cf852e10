"""A record's poisoned points as images, each beside the clean row that it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from poisonbench.data.base import DataOptions, prepare
from poisonbench.data.split import split
from poisonbench.errors import DataError, ValidationError
from poisonbench.experiment.poison import poison_of
from poisonbench.experiment.protocol import UNBOUNDED
from poisonbench.leaderboard.images import thumbnails
from poisonbench.leaderboard.images.exhibits import Exhibit, Image
from poisonbench.leaderboard.images.strips import Strip
from poisonbench.problem.budget import Budget
from poisonbench.problem.samples import Dataset, PoisonSet, Samples
from poisonbench.problem.threat import Knowledge, Mode, ThreatModel
from poisonbench.seeding import child_generator
from poisonbench.store.database import Store
from poisonbench.store.record import Record

ORDERS = {
    "first": "in the attack's own order",
    "linf": "largest L∞ distance first",
    "median": "around the median L∞ distance, largest first",
}

_SHOWN = 10
"""Points in a strip."""


@dataclass(frozen=True)
class PoisonImages:
    """A poison set and the clean rows that it was made from.

    Attributes:
        poison: D_p.
        train: D_tr.
    """

    poison: PoisonSet
    train: Samples

    def __len__(self) -> int:
        return len(self.poison)

    @property
    def distances(self) -> list[float]:
        """L∞ distance of every point that was made from a clean row to that row."""
        found: list[float] = self._linf()[self.poison.source >= 0].tolist()
        return found

    def exhibits(self, order: str, count: int) -> Sequence[Exhibit]:
        """At most so many of the points; order: one of ORDERS."""
        return [self._exhibit(row) for row in self._rows(order, count)]

    def key_exhibits(self) -> Sequence[Exhibit]:
        """For a thumbnail: those with the largest perturbation, then others, around the median; where all are made from
        nothing, the first ones."""
        if not self.distances:
            return self.exhibits("first", thumbnails.LARGEST + thumbnails.MEDIAN)
        largest = self._rows("linf", thumbnails.LARGEST)
        median = [row for row in self._rows("median", thumbnails.MEDIAN) if row not in largest]
        return [self._exhibit(row) for row in [*largest, *median]]

    def _rows(self, order: str, count: int) -> list[int]:
        if order == "first":
            return list(range(len(self)))[:count]
        rows: list[int] = self._linf().argsort(descending=True, stable=True).tolist()
        if order == "median":
            moved = len(self.distances)  # what was made from nothing comes last, and has no part in the median
            first = max(0, (moved - count + 1) // 2)
            rows = rows[first:]
        return rows[:count]

    def _linf(self) -> Tensor:
        """Of every point, (n_poison,); −1 for one that was made from nothing, so that it comes last."""
        found = (self.poison.x - self.train.x[self.poison.source]).abs().flatten(1).amax(1)
        return found.masked_fill(self.poison.source < 0, -1.0)

    def _exhibit(self, row: int) -> Exhibit:
        image, label, source = _image(self.poison.x[row]), int(self.poison.y[row]), int(self.poison.source[row])
        if source < 0:
            return Exhibit(image, label)
        return Exhibit(image, label, _image(self.train.x[source]), int(self.train.y[source]))


def load(store: Store, record: Record, options: DataOptions) -> PoisonImages:
    """The poison set that the record names and the D_tr of its run, both checked against what the run recorded.

    Raises:
        DataError: if the record has no poison set, or the dataset is not here or is not the record's.
        StoreError: if the poison set's file is gone or damaged.
    """
    poison = poison_of(store, record)
    dataset = _dataset(record, options)
    train = _train(record, dataset)
    _verify(record, poison, train, dataset.classes)
    return PoisonImages(poison, train)


def strip(store: Store, record: Record | None, label: str, options: DataOptions) -> Strip:
    """The first points of a record and the distances of all; without a record, a strip that was not run.

    Raises:
        DataError, StoreError: as `load`.
    """
    if record is None:
        return Strip(label)
    images = load(store, record, options)
    return Strip(label, images.exhibits("first", _SHOWN), images.distances)


def _dataset(record: Record, options: DataOptions) -> Dataset:
    """The record's dataset, content and all."""
    dataset = prepare(record.dataset.name, options)
    if dataset.sha256 != record.dataset.sha256 or len(dataset.train) < record.dataset.n_train + record.dataset.n_val:
        raise DataError(
            f"Record {record.record_id} was made on another {record.dataset.name} (SHA-256 "
            f"{record.dataset.sha256[:16]}…) than the one here ({dataset.sha256[:16]}…)."
        )
    return dataset


def _train(record: Record, dataset: Dataset) -> Samples:
    """The record's D_tr, split off as its run did."""
    sizes, n = record.dataset, len(dataset.train)
    generator = child_generator(record.seeds.run, "split")
    trusted = sizes.n_trusted / n if sizes.n_trusted else None  # round(part · n) is the number of rows again
    return split(dataset.train, sizes.n_val / n, generator, sizes.n_train, trusted).train


def _verify(record: Record, poison: PoisonSet, train: Samples, classes: int) -> None:
    """What the run's own check saw must be seen again: then these are the rows that the points were made from."""
    allowed, stored = record.threat, record.poison_check
    box = UNBOUNDED not in record.protocol.deviations
    threat = ThreatModel(Knowledge(allowed.knowledge), Mode(allowed.mode), allowed.clean_label, box=box)
    budget = Budget(allowed.epsilon, record.dataset.n_train, classes, threat, allowed.norm_bound)
    try:
        seen = budget.verify(poison, train, record.attack.name)
    except ValidationError:
        seen = {}
    if not seen or stored is None or abs(seen["linf_max"] - stored.linf_max) > 1e-6:
        raise DataError(
            f"The poison set of record {record.record_id} does not belong to the D_tr that its split gives here. "
            f"Run the cell again on this machine."
        )


def _image(x: Tensor) -> Image:
    image: Image = x.to(torch.float32).permute(1, 2, 0).numpy()
    return image
