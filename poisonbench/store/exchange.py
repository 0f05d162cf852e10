"""Records as plain files, one a record, for git and for other people: out with `export`, in with `merge`."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from poisonbench.errors import CorruptFileError, PoisonbenchError, StoreError
from poisonbench.store.artifacts import Kind, read_beside
from poisonbench.store.atomic import write_atomically
from poisonbench.store.canonical import parse_json, pretty_json
from poisonbench.store.database import Store
from poisonbench.store.location import DATABASE_SUFFIXES, HOME_FOLDERS
from poisonbench.store.other_store import documents_of
from poisonbench.store.record import Artifact, Record

MAX_BYTES = 32 * 2**20
"""A record is some kilobytes; nothing larger than this is read at all."""

MAX_LIST_BYTES = 512 * 2**20
"""The same of a file that holds many records, as `--json` prints them."""

_SQLITE = b"SQLite format 3\0"
"""How its databases begin."""


@dataclass(frozen=True)
class ExportReport:
    """What became of each record.

    Attributes:
        written: the JSON files, in the order of the records.
        refused: ids of records whose artifacts are missing or damaged, and why in one line.
    """

    written: tuple[Path, ...]
    refused: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class MergeReport:
    """What became of each file.

    Attributes:
        added: ids that are new in the store.
        already_there: ids that it had.
        refused: each file that was not taken, and why in one line.
    """

    added: tuple[str, ...]
    already_there: tuple[str, ...]
    refused: tuple[tuple[Path, str], ...]


def export(store: Store, folder: Path, records: Iterable[Record], kinds: Collection[Kind] = ()) -> ExportReport:
    """Write `<record_id>.json` for each record, and its artifacts of those kinds below `artifacts/`.

    The same records give the same bytes, on any machine. A record is refused, and the others are not, if an artifact
    that is asked for is missing or damaged.

    Raises:
        StoreError: if the folder cannot be written.
    """
    written: list[Path] = []
    refused: list[tuple[str, str]] = []
    for record in records:
        wanted = [artifact for artifact in record.artifacts if artifact.kind in kinds]
        try:
            found = {artifact.path: store.artifacts.get_bytes(artifact.sha256) for artifact in wanted}
        except PoisonbenchError as error:
            refused.append((record.record_id, str(error)))
            continue
        try:
            for path, data in found.items():
                write_atomically(folder / path, data)
        except OSError as error:
            raise StoreError(f"Cannot write to {folder}: {error.strerror or error}. Choose another folder.") from error
        written += write_records(folder, [record])  # last: a record that is there has its artifacts beside it
    return ExportReport(tuple(written), tuple(refused))


def write_records(folder: Path, records: Iterable[Record]) -> list[Path]:
    """Write `<record_id>.json` for each record; gives the files.

    Raises:
        StoreError: if the folder cannot be written.
    """
    written = []
    for record in records:
        path = folder / f"{record.record_id}.json"
        try:
            write_atomically(path, pretty_json(record.document()).encode("utf-8"))
        except OSError as error:
            raise StoreError(f"Cannot write to {folder}: {error.strerror or error}. Choose another folder.") from error
        written.append(path)
    return written


def merge(store: Store, paths: Iterable[Path]) -> MergeReport:
    """Take in records that nobody vouches for: exported ones, from files or whole folders, what `--json` printed, and
    those of another store, from its database file or its folder.

    A record is refused, and the others are not, if its file is larger than 32 MiB (512 MiB for a list of records), a
    link, not strict JSON, if it is not a record of a known schema version, not what its record_id names, or has an
    artifact beside it that is not what the record says. A record whose artifacts were not exported is taken; `doctor`
    lists what is missing.

    Raises:
        StoreError: if the store itself cannot be written.
    """
    refused: list[tuple[Path, str]] = []
    taken: dict[str, Record] = {}
    for record, artifacts in _exported(paths, refused):
        for artifact, data in artifacts:
            store.artifacts.put_bytes(data, artifact.kind)
        taken[record.record_id] = record
    return _report(taken, store.add_all(taken.values()), refused)


def merge_into(folder: Path, paths: Iterable[Path]) -> MergeReport:
    """Take in exported records, as `merge` does, but into a folder of JSON files such as leaderboard/results; without
    artifacts.

    Raises:
        StoreError: if the folder cannot be written.
    """
    refused: list[tuple[Path, str]] = []
    taken = {record.record_id: record for record, _ in _exported(paths, refused)}
    new = [record for name, record in taken.items() if not (folder / f"{name}.json").exists()]
    write_records(folder, new)
    return _report(taken, {record.record_id for record in new}, refused)


def _exported(
    paths: Iterable[Path], refused: list[tuple[Path, str]]
) -> Iterator[tuple[Record, list[tuple[Artifact, bytes]]]]:
    """Records that can be read, with those of their artifacts that lie beside them; the others go to `refused`."""
    for path in _files(paths, refused):
        try:
            documents = _documents(path)
        except PoisonbenchError as error:
            refused.append((path, str(error)))
            continue
        except OSError as error:
            refused.append((path, error.strerror or str(error)))
            continue
        for name, document in documents:
            try:
                record = Record.read(document() if callable(document) else document)
                found = [(artifact, read_beside(path.parent, artifact)) for artifact in record.artifacts]
            except PoisonbenchError as error:
                refused.append((path, f"{name}{error}"))
            except OSError as error:
                refused.append((path, f"{name}{error.strerror or error}"))
            else:
                yield record, [(artifact, data) for artifact, data in found if data is not None]


def _documents(path: Path) -> Iterable[tuple[str, object]]:
    """The records' documents in a file, each with what names it among several: of a store, of what `run --json`,
    `sweep --json` or `results show --json` printed, of an exported record."""
    about = path.lstat()
    if not stat.S_ISREG(about.st_mode):
        raise CorruptFileError("a link or a special file; only plain files are read")
    with path.open("rb") as file:
        start = file.read(len(_SQLITE))
    if start == _SQLITE:
        return [(f"record {name}: ", partial(parse_json, text)) for name, text in documents_of(path)]
    most = MAX_LIST_BYTES if start.lstrip().startswith(b"[") else MAX_BYTES
    if about.st_size > most:
        raise CorruptFileError(f"{about.st_size} bytes; at most {most} are read. `results export` writes small files")
    value = parse_json(path.read_bytes())
    if isinstance(value, dict) and isinstance(value.get("records"), list):
        value = value["records"]
    return [(f"[{index}]: ", one) for index, one in enumerate(value)] if isinstance(value, list) else [("", value)]


def _report(taken: Iterable[str], added: Collection[str], refused: list[tuple[Path, str]]) -> MergeReport:
    names = list(taken)
    return MergeReport(
        added=tuple(name for name in names if name in added),
        already_there=tuple(name for name in names if name not in added),
        refused=tuple(refused),
    )


def _files(paths: Iterable[Path], refused: list[tuple[Path, str]]) -> list[Path]:
    """Every JSON file and every store in order; a folder's subfolders too, but never through a link."""
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        for parent, folders, names in os.walk(path, followlinks=False):
            folders[:] = sorted(name for name in folders if name not in HOME_FOLDERS)
            linked = [Path(parent, name) for name in folders if Path(parent, name).is_symlink()]
            refused.extend((link, "a link; only plain files and folders are read") for link in linked)
            found.extend(Path(parent, name) for name in sorted(names) if name.endswith((".json", *DATABASE_SUFFIXES)))
    return found
