"""What a bundle's own files prove of its records, without running anyone's code: validation.

Checked are the rules (a released protocol, untouched), the data (same dataset, same split), the poison set (rows, box,
labels, radius, no test images) and the accuracies, which are counted again from the stored predictions. Not checked
here is whether a training on the poison set gives those predictions (reexecution.py), nor what no file can show: how
the poison set was made, and how long that took.

Neither the dataset nor a poison set is ever in memory as a whole: both stay on disk, and a block of rows is read at a
time.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from poisonbench.data.split import Parts, split
from poisonbench.errors import BudgetError, CorruptFileError, ValidationError
from poisonbench.experiment import protocol as protocols
from poisonbench.experiment.protocol import Resolved
from poisonbench.experiment.runner import seeds_of
from poisonbench.experiment.victim import answers, percent
from poisonbench.files.stored_tensor import StoredTensor
from poisonbench.guard.leakage import refuse_test_images
from poisonbench.identity.versions import current, outdated
from poisonbench.models.base import build
from poisonbench.plugins.registry import load
from poisonbench.problem.budget import Budget
from poisonbench.problem.open_samples import OpenDataset, OpenPoison, OpenSamples
from poisonbench.problem.threat import Knowledge, Mode, ThreatModel
from poisonbench.seeding import child_generator
from poisonbench.store.artifacts import Kind, open_file
from poisonbench.store.record import Record
from poisonbench.submission import entry
from poisonbench.submission.bundle import Bundle

Open = Callable[[str], OpenDataset]
"""A dataset by name."""


@dataclass(frozen=True)
class Finding:
    """A fault of a record or of the bundle.

    Attributes:
        record_id: of which record; "" for the bundle.
        problem: one line.
    """

    record_id: str
    problem: str


@dataclass
class Validator:
    """Checks a bundle's records against the protocols and datasets of this machine.

    Attributes:
        bundle: read already.
        open: gives datasets; DataError if one cannot be had.
    """

    bundle: Bundle
    open: Open
    _splits: dict[tuple[str, int], Parts[OpenSamples]] = field(default_factory=dict)

    def findings(self) -> Iterator[Finding]:
        """Find everything that is wrong, record by record.

        Raises:
            DataError: if a dataset is not here.
        """
        for record in self.bundle.records:
            try:
                self.check(record)
            except (ValidationError, CorruptFileError, BudgetError) as error:
                yield Finding(record.record_id, str(error))

    def check(self, record: Record) -> OpenPoison:
        """Check one record, and return its poison set, which stays in the bundle's file.

        Raises:
            ValidationError, CorruptFileError, BudgetError: with the first thing that is wrong.
        """
        settings = rules(record)
        if self._cells[record.cell_hash, record.seeds.run] > 1:
            raise ValidationError("the same cell and seed is in the bundle more than once.")
        dataset = self.open(settings.protocol.dataset)
        _same_data(record, dataset)
        parts = self.split(settings, record.seeds.run, dataset)
        train, validation = parts.train, parts.validation
        own = 0 if parts.trusted is validation else len(parts.trusted)
        if (record.dataset.n_train, record.dataset.n_val, record.dataset.n_trusted) != (
            len(train),
            len(validation),
            own,
        ):
            raise ValidationError(
                f"it says |D_tr| = {record.dataset.n_train}, |D_v| = {record.dataset.n_val} and "
                f"{record.dataset.n_trusted} trusted rows; the protocol gives {len(train)}, {len(validation)} and "
                f"{own}."
            )
        expected = seeds_of(record.seeds.run)
        if record.seeds.model_dump(exclude={"run"}) != expected:
            raise ValidationError("its seeds are not the streams that come of its run seed.")
        _rows_that_there_are(record, len(parts.trusted))
        poison = self.poison(record, train)
        _verify(record, settings, poison, train, dataset)
        refuse_test_images(record.attack.name, poison.x, dataset.test.x, (train.x, validation.x))
        _same_model(record, dataset)
        entry.check(record)
        _recount(self.bundle, record, dataset)
        return poison

    @cached_property
    def _cells(self) -> Counter[tuple[str, int]]:
        """How often each cell and seed is there: of several poison sets, somebody chose."""
        return Counter((record.cell_hash, record.seeds.run) for record in self.bundle.records)

    def split(self, settings: Resolved, seed: int, dataset: OpenDataset) -> Parts[OpenSamples]:
        """The parts of a seed's training pool."""
        protocol = settings.protocol
        key = protocol.name, seed
        if key not in self._splits:
            self._splits.clear()  # a bundle may have thousands of seeds
            generator = child_generator(seed, "split")
            self._splits[key] = split(
                dataset.train, protocol.validation, generator, protocol.train_rows, protocol.trusted
            )
        return self._splits[key]

    def poison(self, record: Record, train: OpenSamples) -> OpenPoison:
        """A record's poison set, of no more bytes than one of |D_tr| rows has; its shapes are checked by whoever uses
        it."""
        most = len(train) * (math.prod(train.x.shape[1:]) * train.x.dtype.itemsize + 2 * _LABEL)
        tensors = _tensors(self.bundle, record, "poison", {"x", "y", "source"}, most)
        return OpenPoison(tensors["x"], tensors["y"], tensors["source"])


def rules(record: Record) -> Resolved:
    """The locked protocol that a record was made under.

    Raises:
        ValidationError: if it is none of this version's, or was changed.
    """
    claimed = record.protocol
    if record.status != "ok":
        raise ValidationError(f"it {record.status}; only results can be submitted.")
    if claimed.name not in protocols.names():
        raise ValidationError(f"no protocol {claimed.name!r} ships with this version; only released ones are ranked.")
    settings = protocols.resolve(claimed.name, ())
    if claimed.deviations or not claimed.locked:
        raise ValidationError(f"it is unranked: {'; '.join(claimed.deviations) or 'its protocol is not locked'}.")
    if (claimed.hash, claimed.version) != (settings.hash, settings.protocol.version):
        raise ValidationError(f"its {claimed.name} is not the {claimed.name} of this version: another hash or version.")
    for kind, name, version in outdated(record.made_by):
        raise ValidationError(
            f"it was made by version {version} of {kind} {name}, this poisonbench has {current(kind, name) or 1} or "
            "later: run it again."
        )
    if record.model.name not in settings.protocol.models:
        raise ValidationError(f"{claimed.name} has no model {record.model.name!r}.")
    return settings


def budget_of(record: Record, settings: Resolved, n_train: int, classes: int) -> Budget:
    """The budget that the record's threat model allows, under the protocol's radius."""
    claimed = record.threat
    threat = ThreatModel(Knowledge(claimed.knowledge), Mode(claimed.mode), claimed.clean_label, claimed.norm_bound)
    return Budget(claimed.epsilon, n_train, classes, threat, settings.protocol.threat.radius)


def _same_data(record: Record, dataset: OpenDataset) -> None:
    claimed = record.dataset
    if (claimed.name, claimed.sha256, claimed.n_test) != (dataset.name, dataset.sha256, len(dataset.test)):
        raise ValidationError(f"its dataset is not this machine's {dataset.name}: another name, hash or size.")


def _rows_that_there_are(record: Record, trusted: int) -> None:
    """Of what only training again tells, at least the counts can be."""
    detail, rows = record.defense_detail, record.dataset.n_train + record.threat.n_poison
    if detail and (detail.trusted or 0) not in (0, trusted):
        raise ValidationError(f"its defense was shown {detail.trusted} trusted rows, the protocol gives {trusted}.")
    if detail and (detail.removed or 0) > rows:
        raise ValidationError(f"its defense removed {detail.removed} of {rows} rows.")


def _same_model(record: Record, dataset: OpenDataset) -> None:
    model = build(load("model", record.model.name), dataset)
    size = model.size()
    if record.model.n_params != size:
        raise ValidationError(f"its {record.model.name} has {record.model.n_params} parameters, this one has {size}.")


def _verify(record: Record, settings: Resolved, poison: OpenPoison, train: OpenSamples, dataset: OpenDataset) -> None:
    claimed, allowed = record.threat, settings.protocol.threat
    if claimed.mode != allowed.mode.value:
        raise ValidationError(f"its mode is {claimed.mode}, the protocol's {allowed.mode.value}.")
    if Knowledge(claimed.knowledge) is Knowledge.TRAINING_ONLY and allowed.knowledge is not Knowledge.TRAINING_ONLY:
        raise ValidationError(f"it knows {claimed.knowledge}, the protocol allows {allowed.knowledge.value}.")
    if claimed.denominator != len(train):
        raise ValidationError(f"its ε is a fraction of {claimed.denominator} rows, expected {len(train)}.")
    budget = budget_of(record, settings, len(train), dataset.classes)
    if claimed.norm_bound != budget.bound:
        raise ValidationError(f"its radius is {claimed.norm_bound}, the protocol's is {allowed.radius}.")
    seen = budget.verify(poison, train, record.attack.name)
    if record.poison_check is None or record.poison_check.model_dump() != seen or claimed.n_poison != len(poison):
        raise ValidationError("its poison_check is not what its poison set shows.")


def _recount(bundle: Bundle, record: Record, dataset: OpenDataset) -> None:
    """Recount the record's accuracies from its predictions."""
    y = dataset.test.y.cpu()
    before, after = (_predictions(bundle, record, kind, y) for kind in ("clean-predictions", "predictions"))
    metrics = record.metrics
    if metrics is None:
        raise ValidationError("it has no metrics.")
    acc1, acc2 = percent(before == y), percent(after == y)
    if (metrics.acc1, metrics.acc2) != (acc1, acc2):
        raise ValidationError(
            f"it says acc1 = {metrics.acc1:.2f} and acc2 = {metrics.acc2:.2f}; its predictions say {acc1:.2f} and "
            f"{acc2:.2f}."
        )
    if metrics.answers != answers(before == y, after == y):
        raise ValidationError("its answers, by which it is ranked, are not those of its predictions.")
    if metrics.per_class is not None:
        classes = range(dataset.classes)
        by_class = [[percent((part == y)[y == label]) for label in classes] for part in (before, after)]
        if [list(metrics.per_class.acc1), list(metrics.per_class.acc2)] != by_class:
            raise ValidationError("its accuracies by class are not those of its predictions.")


def _predictions(bundle: Bundle, record: Record, kind: Kind, y: Tensor) -> Tensor:
    predicted = _tensors(bundle, record, kind, {"predictions"}, len(y) * _LABEL)["predictions"]
    if predicted.dtype != torch.int16 or tuple(predicted.shape) != tuple(y.shape):
        raise ValidationError(
            f"its {kind} are {predicted.dtype} of shape {tuple(predicted.shape)}, expected int16, ({len(y)},)."
        )
    return predicted[:].long()


_LABEL = 8
"""Bytes of a label, or of a row's number."""

_AROUND = 2**16
"""Bytes that an artifact may have beside its tensors."""


def _tensors(bundle: Bundle, record: Record, kind: Kind, names: set[str], most: int) -> dict[str, StoredTensor]:
    """A record's tensors of that kind, of at most so many bytes; none is read yet."""
    artifacts = [artifact for artifact in record.artifacts if artifact.kind == kind]
    file = bundle.file(artifacts[0], most + _AROUND) if len(artifacts) == 1 else None
    if file is None:
        raise ValidationError(f"its {kind} is not in the bundle; the record names {len(artifacts)}.")
    artifact = artifacts[0]
    if (size := file.stat().st_size) != artifact.bytes:
        raise ValidationError(f"its {kind} has {size} bytes, the record says {artifact.bytes}.")
    tensors = open_file(file, artifact.path)
    if set(tensors) != names:
        raise ValidationError(f"its {kind} holds {sorted(tensors)[:5]}, expected {sorted(names)}.")
    return tensors
