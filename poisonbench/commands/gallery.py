"""`poisonbench gallery`: a record's poisoned points as images that a person can look at."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from poisonbench.commands.figure_file import format_of, write
from poisonbench.data.base import DataOptions, default_cache_dir
from poisonbench.data.prepare import prepare
from poisonbench.data.split import split
from poisonbench.errors import (
    ConfigError,
    CorruptFileError,
    DataError,
    UnknownNameError,
    ValidationError,
    unknown,
)
from poisonbench.leaderboard.gallery import Exhibit, Image, draw
from poisonbench.seeding import child_generator
from poisonbench.store.database import Store
from poisonbench.store.record import Record
from poisonbench.terminal.consoles import note
from poisonbench.threat import Knowledge, Mode, ThreatModel
from poisonbench.types import Budget, Dataset, PoisonSet, Samples

ORDERS = {"first": "in the attack's own order", "linf": "largest L∞ distance first"}
MOST = 100
"""More than this is a figure that nobody looks at, and larger than some viewers open."""


def show(
    store: str | None, record_id: str, output: Path, count: int, order: str, data_dir: Path | None, offline: bool
) -> None:
    """Draw a record's poisoned points beside the clean rows that they were made from; print where the file is.

    Raises:
        UsageError: for a record, order, count or file name that will not do.
        DataError: if the record has no poison set, or the dataset is not here or is not the record's.
        StoreError: if the poison set's file is gone, or the figure cannot be written.
    """
    if order not in ORDERS:
        raise UnknownNameError(unknown("order", order, list(ORDERS)))
    if not 1 <= count <= MOST:
        raise ConfigError(f"--count: expected 1 to {MOST} points, got {count}.")
    format_ = format_of(output)
    with Store.open(store) as opened:
        record = opened.record(record_id)
        poison = _poison(opened, record)
    dataset = _dataset(record, DataOptions(default_cache_dir(), data_dir, offline, note))
    train = _train(record, dataset)
    _verify(record, poison, train, dataset.classes)
    chosen = _ordered(poison, train, order)[:count]
    notes = [f"{len(chosen)} of {len(poison)} points, {ORDERS[order]}"]
    if record.threat.norm_bound is not None:
        notes.append(f"L∞ ≤ {record.threat.norm_bound:.3g}")
    write(output, draw([_exhibit(poison, train, row) for row in chosen], _title(record), notes, format_))


def _poison(store: Store, record: Record) -> PoisonSet:
    """The poison set that the record names, its bytes checked against its SHA-256."""
    found = [artifact for artifact in record.artifacts if artifact.kind == "poison"]
    if not found or record.poison_check is None:
        reason = f" ({record.status}: {record.error})" if record.error else ""
        raise DataError(f"Record {record.record_id} has no valid poison set to show{reason}. Choose another record.")
    tensors = store.artifacts.get(found[0].sha256)
    if tensors.keys() != {"x", "y", "source"}:
        raise CorruptFileError(f"{found[0].path} is no poison set: it has {', '.join(sorted(tensors)) or 'nothing'}.")
    return PoisonSet(tensors["x"], tensors["y"], tensors["source"])


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
    validation = record.dataset.n_val / len(dataset.train)  # |D_v| = round(validation · n) is n_val again
    rows, _ = split(
        dataset.train, validation, child_generator(record.seeds.run, "split"), train_rows=record.dataset.n_train
    )
    return rows


def _verify(record: Record, poison: PoisonSet, train: Samples, classes: int) -> None:
    """What the run's own check saw must be seen again: then these are the rows that the points were made from."""
    allowed, stored = record.threat, record.poison_check
    threat = ThreatModel(Knowledge(allowed.knowledge), Mode(allowed.mode), allowed.clean_label)
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


def _ordered(poison: PoisonSet, train: Samples, order: str) -> list[int]:
    if order == "first":
        return list(range(len(poison)))
    distance = (poison.x - train.x[poison.source]).abs().flatten(1).amax(1)
    distance[poison.source < 0] = -1.0  # made from nothing: no distance, so last
    return [int(row) for row in distance.argsort(descending=True, stable=True)]


def _exhibit(poison: PoisonSet, train: Samples, row: int) -> Exhibit:
    image, label, source = _image(poison.x[row]), int(poison.y[row]), int(poison.source[row])
    return Exhibit(image, label) if source < 0 else Exhibit(image, label, _image(train.x[source]), int(train.y[source]))


def _image(x: Tensor) -> Image:
    image: Image = x.to(torch.float32).permute(1, 2, 0).numpy()
    return image


def _title(record: Record) -> list[str]:
    crafted_on = [f"crafted on {record.surrogate}"] if record.surrogate else []
    setting = [f"ε = {record.threat.epsilon:g}", f"seed {record.seeds.run}"]
    return [record.attack.name, record.protocol.name, record.model.name, *crafted_on, *setting]
