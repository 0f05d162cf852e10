"""Records of a store that somebody hands over as a file: read, never written, never brought up to date."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from poisonbench.errors import CorruptFileError


def documents_of(file: Path) -> list[tuple[str, bytes]]:
    """The id and the document of each of its records, as they are there: nobody vouches for either.

    Raises:
        CorruptFileError: if it is no store, or cannot be read.
    """
    log = Path(f"{file}-wal")
    # In a folder that is not ours to write, SQLite reads what is settled if it is told that nobody writes.
    settled = "&immutable=1" if not os.access(file.parent, os.W_OK) and not log.exists() else ""
    uri = f"{file.absolute().as_uri()}?mode=ro{settled}"
    try:
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            connection.execute("PRAGMA trusted_schema = OFF")
            rows = connection.execute("SELECT record_id, CAST(document AS BLOB) FROM records ORDER BY record_id")
            return [(str(name)[:16], bytes(document or b"")) for name, document in rows]
    except sqlite3.Error as error:
        raise CorruptFileError(f"no store, or damaged: {error}") from error
