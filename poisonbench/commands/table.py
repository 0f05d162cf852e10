"""`poisonbench table`."""

from __future__ import annotations

import sys
from collections.abc import Callable

from poisonbench.errors import UnknownNameError, unknown
from poisonbench.leaderboard import tables
from poisonbench.leaderboard.aggregate import boards
from poisonbench.leaderboard.values import Value, value
from poisonbench.store.database import Store
from poisonbench.store.tables import Row
from poisonbench.terminal.consoles import console, note

FORMATS = ("terminal", "md")


def show(store: str | None, protocol: str | None, model: str | None, format_: str, shown: str) -> None:
    """Print every board of a store.

    Raises:
        UnknownNameError: for a format or a value there is none of.
    """
    what = value(shown)
    if format_ not in FORMATS:
        raise UnknownNameError(unknown("format", format_, list(FORMATS)))
    filters = {key: name for key, name in {"protocol": protocol, "model": model}.items() if name is not None}
    with Store.open(store) as opened:
        found = boards(opened.rows(**filters), what, _numbers(opened, what, filters))
    if not found:
        note("No records yet. Make one with `poisonbench run --attack tgda`.")
    for board in found:
        if format_ == "md":
            sys.stdout.write(tables.markdown(board) + "\n")
        else:
            console.print(f"[bold]{tables.heading(board)}", highlight=False)
            console.print(tables.terminal(board) if board.entries else "No ranked records.")
            console.print()


def _numbers(store: Store, what: Value, filters: dict[str, str]) -> Callable[[Row], float | None]:
    """The value of a row's record: from its column, or else from the records, which have to be parsed for it."""
    if what.column is not None:
        column = what.column
        return lambda row: getattr(row, column)
    found = {record.record_id: what.of(record) for record in store.records(**filters)}
    return lambda row: found[row.record_id]
