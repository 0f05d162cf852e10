"""Records as plain files, one a record, for other people: out with `export`, in with `merge`."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path

from poisonbench.errors import CorruptFileError, PoisonbenchError, StoreError
from poisonbench.files.atomic import write_atomically
from poisonbench.store import json_list, packed, publishing
from poisonbench.store.artifacts import Kind, find_beside
from poisonbench.store.canonical import parse_json, pretty_json
from poisonbench.store.database import Store
from poisonbench.store.location import DATABASE_SUFFIXES, HOME_FOLDERS
from poisonbench.store.other_store import documents_of
from poisonbench.store.record import Record
from poisonbench.store.record_origin import Artifact

MAX_BYTES = packed.LONGEST
"""Of a record's file."""

MAX_LIST_BYTES = 512 * 2**20
"""The same of a file that holds many records, as `--json` prints them."""

MAX_REFUSED = 1000
"""Records of one file that are refused before the rest of it is."""

_SUFFIXES = (".json", packed.SUFFIX, *DATABASE_SUFFIXES)

DEPOSITED = f"records{packed.SUFFIX}"
"""The records of a deposit."""

DESCRIPTIONS = ("metadata.json", "croissant.json")
"""What lies beside them, and tells of the deposit."""

MANIFEST = "bundle.json"
"""What tells of a bundle, beside its folder of records."""

BUNDLED = "records"
"""That folder."""

_AT_ONCE = 500
"""Records that are in memory."""

_SQLITE = b"SQLite format 3\0"
"""How its databases begin."""


Check = Callable[[Record], None]
"""Raises ValidationError for a record that is to be refused."""


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


def merge(store: Store, paths: Iterable[Path], check: Check) -> MergeReport:
    """Take in records that nobody vouches for: exported ones, from files or whole folders, what `--json` printed, and
    those of another store, from its database file or its folder. A deposit or a bundle is such a folder, of which
    nothing but records is read. None of them answers for its cell here, unless it
    ships with poisonbench.

    A record is refused, and the others are not, if its file is larger than 4 MiB (512 MiB for a list of records), a
    link, not strict JSON, if it is not a record of a known schema version, not what its record_id names, has a
    signature that is not its own, is refused by `check`, or has an artifact beside it that is not what the record says.
    A record whose artifacts were not exported is taken; `doctor` lists what is missing.

    Args:
        store: to merge into.
        paths: files and folders.
        check: raises ValidationError for a record that is to be refused.
    Raises:
        StoreError: if the store itself cannot be written.
    """
    refused: list[tuple[Path, str]] = []
    names, added, waiting = dict[str, None](), set[str](), list[Record]()
    for record, artifacts in _exported(paths, refused, check):
        try:
            for artifact, file in artifacts:
                store.artifacts.put_file(file, artifact)
        except CorruptFileError as error:
            refused.append((artifacts[0][1], str(error)))
            continue
        names[record.record_id] = None
        waiting.append(record)
        if len(waiting) == _AT_ONCE:
            added |= store.add_all(waiting)
            waiting.clear()
    return _report(names, added | store.add_all(waiting), refused)


def merge_into(folder: Path, paths: Iterable[Path], check: Check) -> MergeReport:
    """Take in exported records, as `merge` does, but into a folder of published ones such as leaderboard/results;
    without artifacts. Two at once need a lock.

    Raises:
        StoreError: if the folder cannot be written.
    """

    def publishable(record: Record) -> None:
        check(record)
        publishing.place(record)

    refused: list[tuple[Path, str]] = []
    records = {record.record_id: record for record, _ in _exported(paths, refused, publishable)}
    return _report(records, publishing.add(folder, records.values()), refused)


def _exported(
    paths: Iterable[Path], refused: list[tuple[Path, str]], check: Check
) -> Iterator[tuple[Record, list[tuple[Artifact, Path]]]]:
    """Records that can be read, with those of their artifacts that lie beside them; the others go to `refused`."""
    for path in _files(paths, refused):
        before = len(refused)
        try:
            for name, document in _documents(path):
                try:
                    yield _read(path, document, check)
                except PoisonbenchError as error:
                    refused.append((path, f"{name}{error}"))
                if len(refused) - before > MAX_REFUSED:
                    raise CorruptFileError(f"more than {MAX_REFUSED} of its records are none; the rest is not read")
        except PoisonbenchError as error:
            refused.append((path, str(error)))
        except OSError as error:
            refused.append((path, error.strerror or str(error)))


def _read(path: Path, document: bytes | None, check: Check) -> tuple[Record, list[tuple[Artifact, Path]]]:
    if document is None:
        raise CorruptFileError(f"more than {MAX_BYTES} bytes; at most so many are read")
    record = Record.read(parse_json(document))
    check(record)
    found = [(artifact, find_beside(path.parent, artifact)) for artifact in record.artifacts]
    return record, [(artifact, file) for artifact, file in found if file is not None]


def _documents(path: Path) -> Iterator[tuple[str, bytes | None]]:
    """The texts of the records in a file, each with what names it among several: of a store, of published ones, of what
    `run --json`, `sweep --json` or `results show --json` printed, of an exported record. One is None if it is too
    large."""
    about = path.lstat()
    if not stat.S_ISREG(about.st_mode):
        raise CorruptFileError("a link or a special file; only plain files are read")
    with path.open("rb") as file:
        begins = file.read(len(_SQLITE))
        if begins == _SQLITE:
            yield from ((f"record {name}: ", text) for name, text in documents_of(path, MAX_BYTES))
        elif begins.startswith(packed.MAGIC):
            file.seek(0)
            yield from ((f"line {line}: ", text) for line, text in enumerate(packed.texts(file), 1))
        elif not about.st_size:
            yield "", b""
        else:
            with mmap(file.fileno(), 0, access=ACCESS_READ) as document:
                yield from _texts(document)


def _texts(document: mmap) -> Iterator[tuple[str, bytes]]:
    several = json_list.begins(document)
    most = MAX_LIST_BYTES if several else MAX_BYTES
    if len(document) > most:
        raise CorruptFileError(f"{len(document)} bytes; at most {most} are read. `results export` writes small files")
    if several:
        yield from ((f"[{index}]: ", text) for index, text in enumerate(json_list.objects(document, MAX_BYTES)))
    else:
        yield "", document[:]


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
        waiting = [path]
        while waiting:  # not os.walk, which is recursive
            parent = waiting.pop()
            try:
                entries = sorted(os.scandir(parent), key=lambda entry: entry.name)
            except OSError as error:  # such as one that lies too deep to be named
                refused.append((parent, error.strerror or str(error)))
                continue
            others = _not_records({entry.name for entry in entries})
            files = [entry for entry in entries if not _is_folder(entry) and entry.name not in others]
            found += [Path(entry) for entry in files if entry.name.endswith(_SUFFIXES)]
            folders = [entry for entry in entries if _is_folder(entry) and entry.name not in HOME_FOLDERS]
            linked = [Path(entry) for entry in folders if entry.is_symlink()]
            refused.extend((link, "a link; only plain files and folders are read") for link in linked)
            waiting += [Path(entry) for entry in reversed(folders) if not entry.is_symlink()]
    return found


def _not_records(names: Collection[str]) -> set[str]:
    """Those of a folder's files that tell of its records and are none."""
    return {*(DESCRIPTIONS if DEPOSITED in names else ()), *((MANIFEST,) if BUNDLED in names else ())}


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to nowhere
        return False
