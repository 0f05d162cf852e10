"""Artifacts in a table of the store's database, so that all machines that share it have them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import BinaryIO

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert

from poisonbench.store.artifacts import Artifacts, verified_blocks
from poisonbench.store.connections import Connections, blocks, patiently
from poisonbench.store.location import Location
from poisonbench.store.tables import CHUNKS


class ArtifactTable(Artifacts):
    """Artifacts in chunks of 1 MiB, each a row. One is written in one transaction, hence whole or absent.

    Attributes:
        connections: to the database.
    """

    def __init__(self, connections: Connections, location: Location) -> None:
        self.connections = connections
        self._location = location

    def present(self, names: Iterable[str]) -> set[str]:
        """See Artifacts."""
        return {found for block in blocks(list(dict.fromkeys(names))) for found in self._present(block)}

    @patiently
    def _present(self, names: Sequence[str]) -> Sequence[str]:
        first = select(CHUNKS.c.sha256).where(CHUNKS.c.sha256.in_(names), CHUNKS.c.number == 0)
        with self.connections.read() as connection:
            return connection.scalars(first).all()

    @patiently
    def names(self) -> list[str]:
        """See Artifacts."""
        with self.connections.read() as connection:
            return sorted(connection.scalars(select(CHUNKS.c.sha256).where(CHUNKS.c.number == 0)))

    def where(self, sha256: str) -> str:
        """See Artifacts."""
        return f"{sha256} of {self._location}"

    @patiently
    def _load(self, sha256: str) -> bytes | None:
        chunks = select(CHUNKS.c.data).where(CHUNKS.c.sha256 == sha256).order_by(CHUNKS.c.number)
        with self.connections.read() as connection:
            found = connection.scalars(chunks).all()
        return b"".join(found) if found else None

    @patiently
    def is_whole(self, sha256: str) -> bool:
        """See Artifacts."""
        digest, number = hashlib.sha256(), 0
        one = CHUNKS.c.sha256 == sha256
        with self.connections.read() as connection:
            while chunk := connection.scalar(select(CHUNKS.c.data).where(one, CHUNKS.c.number == number)):
                digest.update(chunk)
                number += 1
        return digest.hexdigest() == sha256

    @patiently
    def _keep(self, sha256: str, source: BinaryIO) -> None:
        # Of two writers of the same bytes the second waits for the first's chunks, and keeps none of its own.
        with self.connections.write("write to") as connection:
            connection.execute(delete(CHUNKS).where(CHUNKS.c.sha256 == sha256))
            for number, data in enumerate(verified_blocks(source, sha256)):
                row = {"sha256": sha256, "number": number, "data": data}
                connection.execute(insert(CHUNKS).values(row).on_conflict_do_nothing())
