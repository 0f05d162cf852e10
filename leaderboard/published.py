"""The records that ship with poisonbench: JSON files in leaderboard/results/, as `results export` writes them."""

from __future__ import annotations

from collections.abc import Collection

from poisonbench.store.canonical import parse_json
from poisonbench.store.record import Record
from poisonbench.store.shipped import shipped_files


def published(protocols: Collection[str] | None = None) -> list[Record]:
    """The published records made under those protocols, or under any, in the order of their ids.

    Raises:
        CorruptFileError, ValidationError: if a file is not what was published.
    """
    documents = (parse_json(item.read_bytes()) for item in shipped_files())
    wanted = (one for one in documents if protocols is None or one["protocol"]["name"] in protocols)
    return [Record.read(document) for document in wanted]
