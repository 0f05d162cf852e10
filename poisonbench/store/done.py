"""When a record's cell is done: the record is good, and what it can be checked by is in the store."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from poisonbench.store.artifacts import Kind
from poisonbench.store.record import Record
from poisonbench.store.shipped import shipped_ids

NEEDED: tuple[Kind, ...] = ("poison", "predictions", "clean-predictions")
"""The artifacts without which a record can be neither submitted nor verified nor drawn."""


def needs(record: Record) -> str | None:
    """The hashes of what the record needs, apart by spaces, as its row has them; None if it does not name all kinds."""
    found = {artifact.kind: artifact.sha256 for artifact in record.artifacts}
    return " ".join(found[kind] for kind in NEEDED) if found.keys() >= set(NEEDED) else None


def missing(record: Record, present: Collection[str]) -> list[Kind]:
    """The kinds that a record needs and that are not among the hashes that are present."""
    found = {artifact.kind: artifact.sha256 for artifact in record.artifacts}
    return [kind for kind in NEEDED if found.get(kind) not in present]


def needed(rows: Iterable[str | None]) -> set[str]:
    """The hashes that rows name as needed."""
    return {sha256 for row in rows if row is not None for sha256 in row.split()}


def is_done(record_id: str, status: str, needs: str | None, present: Collection[str]) -> bool:
    """Whether a record that answers for its cell (see `vouched_for`) leaves nothing to do. What ships with poisonbench
    is published, and was checked before.

    Args:
        record_id: its id.
        status: as it says.
        needs: see `needs`.
        present: hashes of artifacts that are in the store.
    """
    if status != "ok":
        return False
    return record_id in shipped_ids() or (needs is not None and all(sha256 in present for sha256 in needs.split()))
