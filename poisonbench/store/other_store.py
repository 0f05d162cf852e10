"""Records of a store that somebody hands over as a file: read, never written, never brought up to date."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from poisonbench.errors import CorruptFileError

_BESIDE = 2**16
"""Bytes that a row may have beside its document."""


def documents_of(file: Path, most: int) -> Iterator[tuple[str, bytes | None]]:
    """The id and the document of each of its records, as they are there: nobody vouches for either. None stands for a
    document of more than so many bytes.

    Nothing is computed that its schema says: `records` must be a table that lies in the file.

    Raises (while it is read):
        CorruptFileError: if it is no store, or cannot be read.
    """
    log = Path(f"{file}-wal")
    # In a folder that is not ours to write, SQLite reads what is settled if it is told that nobody writes.
    settled = "&immutable=1" if not os.access(file.parent, os.W_OK) and not log.exists() else ""
    uri = f"{file.absolute().as_uri()}?mode=ro{settled}"
    try:
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA cell_size_check = ON")
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, most + _BESIDE)
            _refuse_what_is_computed(connection)
            for (row,) in connection.execute("SELECT rowid FROM records ORDER BY rowid"):
                yield _document(connection, row, most)
    except (sqlite3.Error, UnicodeError) as error:
        raise CorruptFileError(f"no store, or damaged: {' '.join(str(error).split())[:200]}") from error


def _refuse_what_is_computed(connection: sqlite3.Connection) -> None:
    """A view may be without end, and so may what a virtual table or a generated column makes up."""
    table = connection.execute("SELECT type, rootpage FROM sqlite_schema WHERE name = 'records'").fetchone()
    hidden = connection.execute("SELECT 1 FROM pragma_table_xinfo('records') WHERE hidden").fetchone()
    if table is None or table[0] != "table" or not table[1] or hidden:
        raise CorruptFileError("no store: it has no table of records that are written in the file")
    connection.execute("SELECT rowid, record_id, document FROM records LIMIT 0")


def _document(connection: sqlite3.Connection, row: int, most: int) -> tuple[str, bytes | None]:
    query = "SELECT substr(CAST(record_id AS BLOB), 1, 16), CAST(document AS BLOB) FROM records WHERE rowid = ?"
    try:
        name, document = connection.execute(query, (row,)).fetchone()
    except sqlite3.DataError:  # a value of more bytes than the limit
        return f"in row {row}", None
    shown, document = bytes(name or b"").decode("utf-8", "replace"), bytes(document or b"")
    return shown, document if len(document) <= most else None
