"""The records of a store together with those that ship."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from poisonbench.leaderboard.published import published
from poisonbench.store.canonical import parse_json
from poisonbench.store.database import Store
from poisonbench.store.record import Record
from poisonbench.store.record_ids import refuse_several
from poisonbench.store.shipped import shipped_ids, shipped_texts
from poisonbench.store.tables import row_of

Filters = Mapping[str, object]
"""By column of Row, the value that a record must have, or several of which it must have one."""


def gathered(store: Store, filters: Filters, with_published: bool) -> list[Record]:
    """The published records that fit, if they are asked for, before the store's; each once.

    Raises:
        UnknownNameError: for a filter that is no column.
    Cost: of the published ones, as `published`; of the store's 0.1 ms a record.
    """
    stored = store.records(**filters)
    shipped = shipped_records(filters) if with_published else []
    return list({record.record_id: record for record in [*shipped, *stored]}.values())


def shipped_records(filters: Filters) -> list[Record]:
    """The published records that fit."""
    asked = {axis: _several(filters[axis]) for axis in ("protocol", "attack", "defense") if axis in filters}
    found = published(**{f"{axis}s": names for axis, names in asked.items()})
    return [record for record in found if _fits(record, filters)] if filters else found


def named(store: Store, record_id: str, with_published: bool) -> Record:
    """The record of that id, or of a prefix that only one id has.

    Raises:
        UnknownNameError: if there is none, or more than one.
    """
    prefix = record_id.lower()
    ids = [name for name in shipped_ids() if name.startswith(prefix)] if with_published and prefix else []
    if not ids:
        return store.record(record_id)
    own = {row.record_id for row in store.rows() if row.record_id.startswith(prefix)}
    refuse_several(record_id, {*ids, *own})
    wanted = f'"record_id":{json.dumps(ids[0])}'.encode()
    (text,) = (text for text in shipped_texts() if wanted in text)
    return Record.read(parse_json(text))


def _several(value: Any) -> Collection[Any]:
    """What is asked for of a column."""
    return value if isinstance(value, list | tuple | set | frozenset) else (value,)


def _fits(record: Record, filters: Filters) -> bool:
    columns = row_of(record)._asdict()
    return all(columns[axis] in _several(value) for axis, value in filters.items())
