"""The records that ship with poisonbench: JSON files in leaderboard/results/, as `results export` writes them."""

from __future__ import annotations

from collections.abc import Collection
from importlib.resources import files

from poisonbench.store.canonical import parse_json
from poisonbench.store.record import Record


def published(protocols: Collection[str] | None = None) -> list[Record]:
    """The published records made under those protocols, or under any, in the order of their ids.

    Raises:
        CorruptFileError, ValidationError: if a file is not what was published.
    """
    folder = files("poisonbench.leaderboard").joinpath("results")
    if not folder.is_dir():
        return []
    names = sorted(item.name for item in folder.iterdir() if item.name.endswith(".json"))
    documents = (parse_json(folder.joinpath(name).read_bytes()) for name in names)
    wanted = (one for one in documents if protocols is None or one["protocol"]["name"] in protocols)
    return [Record.read(document) for document in wanted]
