"""The published records grow: others are put into the packed files of their boards."""

from __future__ import annotations

import lzma
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from poisonbench.errors import CorruptFileError, StoreError, ValidationError
from poisonbench.files.atomic import write_atomically
from poisonbench.files.leftovers import temporaries
from poisonbench.store.canonical import canonical_json, parse_json
from poisonbench.store.packed import LONGEST, PRESET, SUFFIX, ids_beside, texts
from poisonbench.store.record import Record

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def add(folder: Path, records: Iterable[Record]) -> set[str]:
    """Put records into the files of their boards; gives the ids that were new. Lines that are there stay as they are.

    A board's file is replaced whole: one that is killed meanwhile leaves the old one, or the new one with the old ids
    beside it, which the next call mends. Two at once need a lock.

    Args:
        folder: of published records, such as leaderboard/results.
        records: those to add.
    Raises:
        StoreError: if the folder cannot be written, or what is there is damaged.
        ValidationError: as `place`; nothing is written then.
    Cost: 6 s for a board of 2,500 records, whatever is added.
    """
    boards: dict[Path, dict[str, Record]] = {}
    for record in records:
        boards.setdefault(folder / place(record), {})[record.record_id] = record
    added: set[str] = set()
    for path, new in sorted(boards.items()):
        for found in temporaries(path.parent):
            found.remove()
        there = {_id(text): text for text in _there(path)}
        fresh = {name: canonical_json(one.document()).encode() for name, one in new.items() if name not in there}
        _write(path, there | fresh, anew=bool(fresh))
        added |= fresh.keys()
    return added


def place(record: Record) -> Path:
    """The file of a record's board, within the folder of published records.

    Raises:
        ValidationError: if the names of its protocol and model cannot be a folder's and a file's.
    """
    for name in (record.protocol.name, record.model.name):
        if not _PLAIN.fullmatch(name):
            raise ValidationError(f"{name!r} cannot be published: expected letters, digits, '.', '_' and '-' alone.")
    return Path(record.protocol.name, f"{record.model.name}{SUFFIX}")


def _there(path: Path) -> list[bytes]:
    try:
        if not path.exists():
            return []
        with path.open("rb") as file:
            found = list(texts(file))
    except (CorruptFileError, OSError) as error:
        raise StoreError(f"Cannot read {path}: {error}. Restore it first.") from error
    if None in found:
        raise StoreError(f"Cannot read {path}: a record has more than {LONGEST} bytes. Restore it first.")
    return [text for text in found if text is not None]


def _id(text: bytes) -> str:
    return str(parse_json(text)["record_id"])


def _write(path: Path, lines: dict[str, bytes], anew: bool) -> None:
    names = ordered(lines)
    ids = "".join(f"{name}\n" for name in names).encode()
    try:
        if anew:
            write_atomically(path, compressed(lines[name] for name in names))
        if anew or not ids_beside(path).exists() or ids_beside(path).read_bytes() != ids:
            write_atomically(ids_beside(path), ids)
    except OSError as error:
        raise StoreError(f"Cannot write {path}: {error.strerror or error}. Choose another folder.") from error


def ordered(lines: Mapping[str, bytes]) -> list[str]:
    """The ids of records in the order in which they are packed; lines are their canonical texts by id."""
    return sorted(lines, key=lambda name: _neighbours(lines[name]))


def compressed(texts: Iterable[bytes]) -> bytes:
    """The packed file of those texts, in that order; the same texts give the same bytes."""
    return lzma.compress(b"".join(text + b"\n" for text in texts), preset=PRESET)


def _neighbours(text: bytes) -> tuple[str, str, float, int, str, str]:
    """Neighbours have as much in common as possible: defenses of one poison set, then its seeds."""
    one = parse_json(text)
    attack, seed = one["attack"], one["seeds"]["run"]
    settings = canonical_json(attack["params"])
    return attack["name"], settings, one["threat"]["epsilon"], seed, one["defense"]["name"], one["record_id"]
