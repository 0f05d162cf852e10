"""`poisonbench gallery`: a record's poisoned points as images that a person can look at."""

from __future__ import annotations

from pathlib import Path

from poisonbench.cli.figure_file import format_of, write
from poisonbench.cli.poison_images import ORDERS, load
from poisonbench.data.base import DataOptions, default_cache_dir
from poisonbench.errors import ConfigError, UnknownNameError, unknown
from poisonbench.leaderboard.images.gallery import draw
from poisonbench.store.database import Store
from poisonbench.store.record import Record
from poisonbench.terminal.consoles import note

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
        images = load(opened, record, DataOptions(default_cache_dir(), data_dir, offline, note))
    chosen = images.exhibits(order, count)
    notes = [f"{len(chosen)} of {len(images)} points, {ORDERS[order]}"]
    if record.threat.norm_bound is not None:
        notes.append(f"L∞ ≤ {record.threat.norm_bound:.3g}")
    write(output, draw(chosen, _title(record), notes, format_))


def _title(record: Record) -> list[str]:
    crafted_on = [f"crafted on {record.surrogate}"] if record.surrogate else []
    setting = [f"ε = {record.threat.epsilon:g}", f"seed {record.seeds.run}"]
    return [record.attack.name, record.protocol.name, record.model.name, *crafted_on, *setting]
