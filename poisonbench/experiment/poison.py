"""The poison set of a record, from its store."""

from __future__ import annotations

from poisonbench.errors import CorruptFileError, DataError
from poisonbench.problem.samples import PoisonSet
from poisonbench.store.database import Store
from poisonbench.store.record import Record


def poison_of(store: Store, record: Record) -> PoisonSet:
    """The poison set that the record names, its bytes checked against its SHA-256.

    Raises:
        DataError: if the record has none that is valid.
        StoreError: if the file is gone.
        CorruptFileError: if it is damaged, or no poison set.
    """
    found = [artifact for artifact in record.artifacts if artifact.kind == "poison"]
    if not found or record.poison_check is None:
        reason = f" ({record.status}: {record.error})" if record.error else ""
        raise DataError(f"Record {record.record_id} has no valid poison set to show{reason}. Choose another record.")
    tensors = store.artifacts.get(found[0].sha256)
    if tensors.keys() != {"x", "y", "source"}:
        raise CorruptFileError(f"{found[0].path} is no poison set: it has {', '.join(sorted(tensors)) or 'nothing'}.")
    return PoisonSet(tensors["x"], tensors["y"], tensors["source"])
