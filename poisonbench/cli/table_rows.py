"""Which records a table is made of: the store's, with the published ones if asked for, by filters."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from operator import attrgetter

from poisonbench.cli.reading import reading
from poisonbench.errors import UnknownNameError, unknown
from poisonbench.leaderboard.experiments import counts
from poisonbench.leaderboard.published import published
from poisonbench.leaderboard.statistics.answers import SIGNS, Answered, answered
from poisonbench.leaderboard.tables.measurements import Numbers
from poisonbench.leaderboard.values import value
from poisonbench.store.database import Store
from poisonbench.store.record import Record
from poisonbench.store.tables import Row, row_of

_BLOCK = 10_000
"""Records fetched at a time."""

Filters = Mapping[str, Collection[object]]
"""By column of Row, the values of which a record must have one."""


def read(
    store: str | None, filters: Filters, with_published: bool, values: Collection[str]
) -> tuple[list[Row], Numbers, dict[str, Answered]]:
    """The rows that fit, their numbers and answers; records are parsed for values that the store has no column of.

    Args:
        store: where it is.
        filters: what a record must have.
        with_published: whether the records that ship are added.
        values: of the numbers.
    Raises:
        UnknownNameError: for a filter that none of the records fits.
        StoreError: if the store cannot be read.
    """
    beside = {record.record_id: record for record in published()} if with_published else {}
    with reading(store) as opened:
        rows = opened.rows()
        there = {row.record_id for row in rows} if beside else set()
        rows = _fitting([*rows, *(row_of(record) for name, record in beside.items() if name not in there)], filters)
        return rows, _numbers(opened, rows, beside, values), _answers(opened, rows, beside, values)


def _fitting(rows: list[Row], filters: Filters) -> list[Row]:
    for axis, names in filters.items():
        known = {getattr(row, axis) for row in rows}
        missing = sorted(map(str, set(names) - known))
        if known and missing:
            raise UnknownNameError(unknown(f"recorded {axis}", missing[0], list(map(str, known))))
        rows = [row for row in rows if getattr(row, axis) in names]
    return rows


def _numbers(store: Store, rows: Iterable[Row], beside: Mapping[str, Record], names: Collection[str]) -> Numbers:
    """Of each value, a row's number: from its column, or else from its record."""
    columns = {name: column for name in names if (column := value(name).column) is not None}
    parsed = {name: value(name).of for name in names if name not in columns}
    wanted = [row.record_id for row in rows if counts(row)] if parsed else []
    found = {
        record.record_id: {name: of(record) for name, of in parsed.items()}
        for record in _records(store, wanted, beside)
    }
    by_column: dict[str, Callable[[Row], float | None]] = {name: attrgetter(column) for name, column in columns.items()}
    return by_column | {name: partial(_found, found, name) for name in parsed}


def _answers(
    store: Store, rows: Iterable[Row], beside: Mapping[str, Record], names: Collection[str]
) -> dict[str, Answered]:
    """By record id, the answers that a value is a mean over, if one is."""
    if not set(names) & set(SIGNS):
        return {}
    images = {row.record_id: row.n_test for row in rows if counts(row)}
    stored = store.answers([record_id for record_id in images if record_id not in beside])
    shipped = {record_id: answered(beside[record_id]) for record_id in images if record_id in beside}
    found = {record_id: Answered(*bits, images[record_id]) for record_id, bits in stored.items()}
    return found | {record_id: one for record_id, one in shipped.items() if one}


def _found(found: Mapping[str, Mapping[str, float | None]], name: str, row: Row) -> float | None:
    return found[row.record_id][name] if row.record_id in found else None


def _records(store: Store, ids: Sequence[str], beside: Mapping[str, Record]) -> Iterator[Record]:
    yield from (beside[record_id] for record_id in ids if record_id in beside)
    stored = [record_id for record_id in ids if record_id not in beside]
    for start in range(0, len(stored), _BLOCK):
        yield from store.records(record_id=stored[start : start + _BLOCK])
