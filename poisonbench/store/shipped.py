"""Which records ship with poisonbench: those in leaderboard/results/, packed by protocol and model."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from poisonbench.errors import CorruptFileError
from poisonbench.store import packed
from poisonbench.store.canonical import hash_of_itself
from poisonbench.store.upgrades import SCHEMA_VERSION


def shipped_texts(protocols: Collection[str] | None = None) -> Iterator[bytes]:
    """The texts of the records, of those protocols if some are named, board after board.

    Raises:
        CorruptFileError: if a file is not what was published.
    Cost: 0.05 ms a record.
    """
    for folder in _folders():
        if protocols is None or folder.name in protocols:
            for name in _boards(folder):
                yield from _texts(folder, name)


@cache
def shipped_ids() -> frozenset[str]:
    """The ids of those records. An id is the first 64 bits of a hash, for which another record can be made with much
    patience: whoever lets records of others in compares `shipped_hashes`."""
    return frozenset(name for folder in _folders() for board in _boards(folder) for name in _ids(folder, board))


@cache
def shipped_hashes() -> frozenset[str]:
    """The whole hashes that those ids are the beginnings of. Cost: 0.2 ms a record, once."""
    found = (hash_of_itself(text, SCHEMA_VERSION) for text in shipped_texts())
    return frozenset(one for one in found if one is not None)


def _folders() -> list[Traversable]:
    folder = files("poisonbench.leaderboard").joinpath("results")
    found = folder.iterdir() if folder.is_dir() else iter(())
    return sorted((item for item in found if item.is_dir()), key=lambda item: item.name)


def _boards(folder: Traversable) -> list[str]:
    suffix = packed.SUFFIX
    return sorted(item.name.removesuffix(suffix) for item in folder.iterdir() if item.name.endswith(suffix))


def _ids(folder: Traversable, board: str) -> list[str]:
    return folder.joinpath(board + packed.IDS).read_text("ascii").split()


def _texts(folder: Traversable, board: str) -> Iterator[bytes]:
    file = f"{folder.name}/{board}{packed.SUFFIX}"
    wanted, count = len(_ids(folder, board)), 0
    with folder.joinpath(board + packed.SUFFIX).open("rb") as opened:
        for text in packed.texts(opened):
            if text is None:
                raise CorruptFileError(f"{file}: a record of more than {packed.LONGEST} bytes.")
            count += 1
            yield text
    if count != wanted:
        raise CorruptFileError(f"{file}: {count} records, but {wanted} ids beside it. Install poisonbench again.")
