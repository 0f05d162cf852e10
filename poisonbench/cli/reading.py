"""A store that a command reads many records of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from poisonbench.errors import ValidationError
from poisonbench.terminal.consoles import note

if TYPE_CHECKING:
    from poisonbench.store.database import Store

_left_out: list[str] = []


@contextmanager
def reading(store: str | None, new: bool = False) -> Iterator[Store]:
    """Open a store, which must be there if it is named and not to be a `new` one. Each record that could not be read is
    named on standard error, and the command goes on: see `exit_code`.

    Raises:
        UsageError: if there is none of that name.
        StoreError: if it cannot be opened.
    """
    from poisonbench.store.database import Store
    from poisonbench.store.location import refuse_missing

    if not new:
        refuse_missing(store)
    with Store.open(store) as opened:
        try:
            yield opened
        finally:
            for record_id, reason in opened.unreadable.items():
                note(f"Left out record {record_id}: {reason}. Merge an export of it; `poisonbench doctor` lists all.")
            _left_out.extend(opened.unreadable)


def exit_code() -> int:
    """What a command that went well otherwise ends in: 4 if a record could not be read, else 0."""
    return ValidationError.exit_code if _left_out else 0
