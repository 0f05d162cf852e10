"""Which of several records of one cell and seed counts: never the one that has typed the better date.

Those that this store computed or that ship with poisonbench are before any other; of them the latest counts, as their
dates are known to be true. Next are those of a trusted verifier, again the latest. Of what nobody vouches for the first
that came counts, by this store's own clock, and nothing takes its place but what somebody vouches for.
"""

from __future__ import annotations

from collections.abc import Sequence

from poisonbench.store.tables import Row


def in_order(rows: Sequence[Row]) -> list[int]:
    """The indices of rows, that which counts last."""
    arrived = sorted(range(len(rows)), key=lambda index: (rows[index].added_at, rows[index].record_id), reverse=True)
    return sorted(arrived, key=lambda index: _weight(rows[index]))


def age(row: Row) -> tuple[int, str]:
    """How old a record is, for what is told by the oldest: a date that nobody vouches for is younger than any other,
    and the day that it came."""
    known = row.vouched_for or row.verified_by is not None
    return (0, row.finished_at) if known else (1, row.added_at)


def _weight(row: Row) -> tuple[int, str, str]:
    if row.vouched_for:
        return 2, row.finished_at, row.record_id
    return (1, row.finished_at, row.record_id) if row.verified_by is not None else (0, "", "")
