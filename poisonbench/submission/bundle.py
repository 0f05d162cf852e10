"""A bundle: a folder with records, their poison sets and predictions, and the checksums of every file.

    bundle.json                                    what is in it, see Manifest
    records/<record_id>.json                       records, as `results export` writes them
    records/artifacts/<ab>/<sha256>.safetensors    poison sets and predictions
    CITATION.bib                                   if there is one

To read one executes nothing of it: JSON, safetensors, no archive, no link. A file that the manifest does not list, or
lists with another size or hash, is refused before anything of it is parsed, and an artifact that no record names before
it is read at all. In memory there is one record at a time and a block of an artifact, and none is opened that is larger
than its record can need.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, overload

import pydantic
from pydantic import ConfigDict, Field

from poisonbench import __version__
from poisonbench.errors import CorruptFileError, StoreError, ValidationError
from poisonbench.files.atomic import new_folder, take_place, write_atomically
from poisonbench.store.artifacts import MAX_ARTIFACT, hash_of
from poisonbench.store.canonical import parse_json, pretty_json
from poisonbench.store.database import Store
from poisonbench.store.done import NEEDED
from poisonbench.store.exchange import BUNDLED, MANIFEST, MAX_BYTES, export
from poisonbench.store.record import Record
from poisonbench.store.record_fields import Count, Sha256, Text
from poisonbench.store.record_origin import Artifact
from poisonbench.store.shipped import shipped_ids

CITATION = "CITATION.bib"
"""Of a record's artifacts a bundle has those that it needs (see store.done): enough to train and to count again."""

MAX_FILES = 20_000
MAX_MANIFEST = 16 * 2**20
MAX_BUNDLE = 64 * 2**30
"""Bytes of all its files: so many are hashed in minutes."""

_DEPTH = 3
"""Folders below each other."""

_LIMITS = {
    re.compile(r"records/[0-9a-f]{16}\.json"): MAX_BYTES,
    re.compile(r"records/artifacts/[0-9a-f]{2}/[0-9a-f]{64}\.safetensors"): MAX_ARTIFACT,
    re.compile(re.escape(CITATION)): 2**20,
}
"""The only files a bundle may list, and how large each may be: no other path is ever opened."""


class File(pydantic.BaseModel):
    """A file of a bundle; its path below the bundle's folder."""

    model_config = ConfigDict(frozen=True, extra="forbid", regex_engine="python-re")

    path: Annotated[str, Field(max_length=200)]
    sha256: Sha256
    bytes: Count


class Manifest(pydantic.BaseModel):
    """The manifest of a bundle, bundle.json.

    Attributes:
        format: what this is.
        format_version: of the layout.
        poisonbench: version that wrote it.
        files: every file but this one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", regex_engine="python-re")

    format: Literal["poisonbench-bundle"] = "poisonbench-bundle"
    format_version: Literal[1] = 1
    poisonbench: Text = __version__
    files: Annotated[tuple[File, ...], Field(max_length=MAX_FILES)] = ()


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files are what its manifest says; what the files say is not checked yet.

    Attributes:
        folder: where it is.
        manifest: its list.
        records: by the order of their ids.
        citation: BibTeX, or None.
    """

    folder: Path
    manifest: Manifest
    records: Records
    citation: str | None

    @cached_property
    def files(self) -> Mapping[str, File]:
        """The manifest's files by their paths."""
        return {file.path: file for file in self.manifest.files}

    def file(self, artifact: Artifact, most: int) -> Path | None:
        """An artifact's file, checked again, or None if the bundle does not have it.

        Args:
            artifact: of a record.
            most: bytes that it may have.
        Raises:
            ValidationError: if it has more.
            CorruptFileError: if the file changed since the bundle was read.
        """
        listed = self.files.get(_place(artifact))
        if listed is None:
            return None
        if listed.bytes > most:
            raise ValidationError(f"its {artifact.kind} has {listed.bytes} bytes; at most {most} fit its dataset.")
        _check_size(self.folder, listed)
        _check_hash(self.folder, listed)
        return self.folder / listed.path


@dataclass(frozen=True)
class Records(Sequence[Record]):
    """The records of a bundle, each read when it is asked for: thousands of them do not fit into memory.

    Attributes:
        folder: of the bundle.
        listed: their files.
    """

    folder: Path
    listed: Sequence[File]

    def __len__(self) -> int:
        return len(self.listed)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Records: ...
    def __getitem__(self, index: int | slice) -> Record | Records:
        if isinstance(index, slice):
            return Records(self.folder, self.listed[index])
        file = self.listed[index]
        return _record(file.path, _content(self.folder, file))


def write(store: Store, records: Sequence[Record], folder: Path, citation: bytes | None) -> Manifest:
    """Write a bundle of records; they become a submission's (`provenance`), which gives them other ids.

    Args:
        store: that holds their poison sets and predictions.
        records: good ones.
        folder: to write to; must not exist, be empty, or hold the very same bundle.
        citation: BibTeX file, or None.
    Raises:
        ValidationError: for a record that is no result, or that lacks a poison set or predictions.
        StoreError: if an artifact is missing or the folder cannot be written.
    """
    if folder.exists() and not (folder / MANIFEST).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise _there(folder)
    lacking = store.lacking(records)
    for record in records:
        if record.status != "ok":
            raise ValidationError(f"Record {record.record_id} {record.status}: only results can be submitted.")
        if missing := lacking.get(record.record_id):
            how = " with --force" if record.record_id in shipped_ids() else ""
            raise ValidationError(
                f"Record {record.record_id} is here without its {' and '.join(missing)}. "
                f"Run its cell again{how}, or merge an export of it with --artifacts."
            )
    submitted = [_submitted(record) for record in records]
    try:
        with new_folder(folder, _settle) as new:
            return _fill(new, store, submitted, citation)
    except OSError as error:
        raise StoreError(f"Cannot write to {folder}: {error.strerror or error}. Choose another folder.") from error


def _fill(folder: Path, store: Store, records: Sequence[Record], citation: bytes | None) -> Manifest:
    exported = export(store, folder / BUNDLED, records, NEEDED)
    for name, reason in exported.refused:
        raise StoreError(f"Record {name} cannot be submitted: {reason}")
    paths = list(exported.written)
    if citation is not None:
        write_atomically(folder / CITATION, citation)
        paths.append(folder / CITATION)
    artifacts = {artifact.path for record in records for artifact in record.artifacts if artifact.kind in NEEDED}
    paths += [folder / BUNDLED / path for path in sorted(artifacts)]
    manifest = Manifest(files=tuple(_listed(folder, path) for path in paths))
    write_atomically(folder / MANIFEST, pretty_json(manifest.model_dump(mode="json")).encode("utf-8"))
    return manifest


def _settle(new: Path, folder: Path) -> None:
    """Put a bundle in its place; the very same may be there, of a command that was killed at its end."""
    if not (folder / MANIFEST).is_file():
        take_place(new, folder)
    elif (folder / MANIFEST).read_bytes() != (new / MANIFEST).read_bytes():
        raise _there(folder)


def _there(folder: Path) -> StoreError:
    return StoreError(f"{folder} is there already. Choose a new folder for the bundle.")


def read(folder: Path) -> Bundle:
    """Read a bundle that nobody vouches for.

    Raises:
        CorruptFileError: naming the first file that is not what the manifest says.
        ValidationError: for a manifest or a record that breaks its schema.
    """
    try:
        return _read(folder)
    except OSError as error:
        raise CorruptFileError(f"{folder} cannot be read: {error.strerror or error}.") from error


def _read(folder: Path) -> Bundle:
    if not folder.is_dir():
        hint = "unpack it first: a bundle is a folder" if folder.is_file() else "there is no such folder"
        raise CorruptFileError(f"{folder} is not a bundle: {hint}.")
    manifest = _manifest(folder)
    files = sorted(manifest.files, key=lambda file: file.path)
    for file in files:
        _check_name(file)
        _check_size(folder, file)
    if (total := sum(file.bytes for file in files)) > MAX_BUNDLE:
        raise CorruptFileError(f"{folder} has {total} bytes, at most {MAX_BUNDLE} are read.")
    citation = [_text(_content(folder, file)) for file in files if file.path == CITATION]
    records = Records(folder, tuple(file for file in files if file.path.endswith(".json")))
    if not records:
        raise ValidationError(f"{folder} holds no record.")
    artifacts = {file.path: file for file in files if file.path.endswith(".safetensors")}
    named = set[str]()
    for record in records:
        named.update(_place(artifact) for artifact in record.artifacts if _place(artifact) in artifacts)
    for path, file in artifacts.items():
        if path not in named:
            raise CorruptFileError(f"{path} is named by no record.")
        _check_hash(folder, file)
    return Bundle(folder, manifest, records, citation[0] if citation else None)


def _manifest(folder: Path) -> Manifest:
    """The manifest of a folder that holds what it lists and nothing else."""
    found = set(_walk(folder))
    if MANIFEST not in found:
        raise CorruptFileError(f"{folder} is not a bundle: it has no {MANIFEST}.")
    path = folder / MANIFEST
    if path.stat().st_size > MAX_MANIFEST:
        raise CorruptFileError(f"{MANIFEST} has {path.stat().st_size} bytes, at most {MAX_MANIFEST} are read.")
    manifest = manifest_of(path.read_bytes())
    listed = [file.path for file in manifest.files]
    if len(set(listed)) < len(listed):
        raise CorruptFileError(f"{MANIFEST} lists a file twice.")
    extra, gone = sorted(found - {MANIFEST, *listed}), sorted(set(listed) - found)
    if extra:
        raise CorruptFileError(f"{_shown(extra[0])} is not listed in {MANIFEST}.")
    if gone:
        raise CorruptFileError(f"{_shown(gone[0])} is listed in {MANIFEST} and not there.")
    return manifest


def _place(artifact: Artifact) -> str:
    """Where a bundle has an artifact."""
    return f"records/{artifact.path}"


def _submitted(record: Record) -> Record:
    document = {key: value for key, value in record.document().items() if key != "record_id"}
    return Record.create(**{**document, "provenance": {"source": "submission", "verification": None}})


def _listed(folder: Path, path: Path) -> File:
    return File(path=path.relative_to(folder).as_posix(), sha256=hash_of(path), bytes=path.stat().st_size)


def _walk(folder: Path) -> Iterator[str]:
    """The path of every file below the folder; refuses what is neither a plain file nor a plain folder, what lies too
    deep, and too many."""
    waiting, count = [("", 0)], 0
    while waiting:
        parent, depth = waiting.pop()
        with os.scandir(folder / parent) as scanned:
            entries = list(scanned)
        for entry in entries:
            path, count = f"{parent}{entry.name}", count + 1
            if count > 4 * MAX_FILES:
                raise CorruptFileError(f"{folder} holds more than {4 * MAX_FILES} files and folders.")
            if entry.is_file(follow_symlinks=False):
                yield path
            elif not entry.is_dir(follow_symlinks=False):
                raise CorruptFileError(f"{_shown(path)} is a link or a special file.")
            elif depth == _DEPTH:
                raise CorruptFileError(f"{_shown(path)} lies deeper than any folder of a bundle.")
            else:
                waiting.append((f"{path}/", depth + 1))


def manifest_of(data: bytes) -> Manifest:
    """Read a manifest from its file.

    Raises:
        CorruptFileError, ValidationError: in one line.
    """
    try:
        return Manifest.model_validate(parse_json(data))
    except CorruptFileError as error:
        raise CorruptFileError(f"{MANIFEST}: {error}.") from None
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise ValidationError(f"{MANIFEST}: {'.'.join(map(str, first['loc']))[:100]}: {first['msg'][:200]}.") from None


def _check_name(file: File) -> None:
    limit = next((most for pattern, most in _LIMITS.items() if pattern.fullmatch(file.path)), None)
    if limit is None:
        raise CorruptFileError(f"{MANIFEST} lists {_shown(file.path)}, which has no place in a bundle.")
    if file.path.endswith(".safetensors") and Path(file.path).stem != file.sha256:
        raise CorruptFileError(f"{file.path} is not named by its hash.")
    if file.bytes > limit:
        raise CorruptFileError(f"{file.path} has {file.bytes} bytes, at most {limit} are read.")


def _check_size(folder: Path, file: File) -> None:
    size = (folder / file.path).lstat().st_size
    if size != file.bytes:
        raise CorruptFileError(f"{file.path} has {size} bytes, {MANIFEST} says {file.bytes}.")


def _check_hash(folder: Path, file: File) -> None:
    if hash_of(folder / file.path) != file.sha256:
        raise CorruptFileError(f"{file.path} does not have the hash that {MANIFEST} says.")


def _content(folder: Path, file: File) -> bytes:
    _check_size(folder, file)
    data = (folder / file.path).read_bytes()
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise CorruptFileError(f"{file.path} does not have the hash that {MANIFEST} says.")
    return data


def _record(path: str, data: bytes) -> Record:
    try:
        record = Record.read(parse_json(data))
    except (CorruptFileError, ValidationError) as error:
        raise type(error)(f"{path}: {error}") from None
    if path != f"records/{record.record_id}.json":
        raise ValidationError(f"{path} holds record {record.record_id}.")
    return record


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CorruptFileError(f"{CITATION}: byte {error.start} is not UTF-8.") from None


def _shown(path: str) -> str:
    """A path that nobody vouches for, as text for one line of a terminal."""
    return repr(path[:100])
