"""`poisonbench.load_poison`: the poison set of a record."""

from __future__ import annotations

from os import PathLike

from poisonbench.experiment.poison import poison_of
from poisonbench.problem.samples import PoisonSet
from poisonbench.store.database import Store
from poisonbench.store.location import refuse_missing
from poisonbench.store.record import Record


def load_poison(record: Record | str, *, store: str | PathLike[str] | None = None) -> PoisonSet:
    """The poison set that a record's cell was played with, on the CPU, its bytes checked against their SHA-256.

    Args:
        record: a record, its id, or as much of the id's beginning as no other one has.
        store: folder, .db file or SQLAlchemy URL where it was run; by default in the user's data folder.
    Raises:
        UsageError: if there is no such store or record.
        DataError: if the record has no poison set.
        StoreError: if the poison set's file is gone.
        CorruptFileError: if it is damaged.
    """
    refuse_missing(store)
    with Store.open(store) as opened:
        return poison_of(opened, opened.record(record) if isinstance(record, str) else record)
