"""A deposit: one folder with everything that an archive such as Zenodo needs to give results a DOI.

    records.jsonl.xz    the records, as poisonbench publishes them: `results merge` reads it
    records.csv.gz      the same as a table
    artifacts.zip       poison sets, predictions, models, by their hashes: `results fetch` reads it
    metadata.json       what it is, for Zenodo's deposit API
    croissant.json      files and columns, in Croissant 1.0
    README.md           what is in it, and how it is read
    SHA256SUMS          of all the others

The same records, said to be the same, give the same bytes.
"""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from poisonbench import __version__
from poisonbench.errors import ConfigError, PoisonbenchError, StoreError
from poisonbench.files.atomic import new_folder, replacing, take_place, write_atomically
from poisonbench.leaderboard.frame import frame
from poisonbench.store.artifact_sources import ARCHIVE
from poisonbench.store.artifacts import Kind, hash_of
from poisonbench.store.canonical import canonical_json, pretty_json
from poisonbench.store.database import Store
from poisonbench.store.exchange import DEPOSITED as RECORDS
from poisonbench.store.exchange import DESCRIPTIONS
from poisonbench.store.publishing import compressed, ordered
from poisonbench.store.record import Record
from poisonbench.store.record_origin import Artifact
from poisonbench.submission.croissant import File, croissant
from poisonbench.submission.deposit_about import About, described, zenodo

TABLE, SUMS = "records.csv.gz", "SHA256SUMS"

_FIRST_DAY = (1980, 1, 1, 0, 0, 0)
"""Of every file in the archive: the first that zip knows."""

_PLAIN_FILE = 0o100644 << 16

_WHAT = {
    RECORDS: ("The records: canonical JSON lines under xz; `poisonbench results merge` reads it.", "application/x-xz"),
    TABLE: ("The records as a table, one row each.", "text/csv"),
    ARCHIVE: ("Tensors that records name by SHA-256: safetensors in a zip, stored.", "application/zip"),
}

Seen = Callable[[int, int], None]
"""Hears how many artifacts are done, and of how many."""


@dataclass(frozen=True)
class DepositReport:
    """What became of the records.

    Attributes:
        records: how many are in it.
        artifacts: the same.
        bytes: of all its files.
        refused: ids of records that were left out, and why in one line.
    """

    records: int
    artifacts: int
    bytes: int
    refused: tuple[tuple[str, str], ...]


def write(
    store: Store,
    records: Sequence[Record],
    folder: Path,
    about: About,
    kinds: Collection[Kind],
    seen: Seen = lambda done, total: None,
) -> DepositReport:
    """Write a deposit. A record of which an artifact of those kinds is missing or damaged is left out.

    Args:
        store: that has the artifacts.
        records: each once.
        folder: to write to; must not exist, be empty, or hold the very same deposit.
        about: what it says of itself.
        kinds: of artifacts that go in.
        seen: hears how far the archive is.
    Raises:
        ConfigError: if no record is left.
        StoreError: if the folder cannot be written.
    Cost: reads each artifact twice; 2.5 ms a record to pack them.
    """
    if folder.exists() and not (folder / SUMS).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise _there(folder)
    refused = _incomplete(store, records, kinds)
    kept = {one.record_id: one for one in records if one.record_id not in refused}
    if not kept:
        why = f" Record {next(iter(refused))}: {next(iter(refused.values()))}" if refused else ""
        raise ConfigError(f"There is no record to deposit.{why}")
    named = {one.sha256: one for record in kept.values() for one in record.artifacts if one.kind in kinds}
    try:
        with new_folder(folder, _settle) as new:
            size = _fill(new, store, kept, [named[name] for name in sorted(named)], about, seen)
    except OSError as error:
        raise StoreError(f"Cannot write to {folder}: {error.strerror or error}. Choose another folder.") from error
    return DepositReport(len(kept), len(named), size, tuple(refused.items()))


def _incomplete(store: Store, records: Sequence[Record], kinds: Collection[Kind]) -> dict[str, str]:
    """Why records cannot be deposited, by id."""
    faults: dict[str, str] = {}
    found: dict[str, str] = {}
    for record in records:
        for artifact in record.artifacts:
            if artifact.kind not in kinds:
                continue
            if artifact.sha256 not in faults:
                faults[artifact.sha256] = _fault(store, artifact)
            if fault := faults[artifact.sha256]:
                found.setdefault(record.record_id, fault)
    return found


def _fault(store: Store, artifact: Artifact) -> str:
    try:
        size = len(store.artifacts.get_bytes(artifact.sha256))
    except PoisonbenchError as error:
        return str(error)
    return "" if size == artifact.bytes else f"{artifact.path} has {size} bytes, the record says {artifact.bytes}."


def _fill(
    folder: Path, store: Store, records: Mapping[str, Record], artifacts: Sequence[Artifact], about: About, seen: Seen
) -> int:
    """All files; gives their bytes."""
    lines = {name: canonical_json(record.document()).encode() for name, record in records.items()}
    in_order = [records[name] for name in ordered(lines)]
    write_atomically(folder / RECORDS, compressed(lines[record.record_id] for record in in_order))
    table = frame(in_order).to_csv(index=False, lineterminator="\n")
    write_atomically(folder / TABLE, gzip.compress(table.encode("utf-8"), mtime=0))
    _write_archive(folder / ARCHIVE, store, artifacts, seen)
    files = [_file(folder / name, *what) for name, what in _WHAT.items()]
    description = described(about, in_order, len(artifacts))
    day = max(record.finished_at for record in in_order)[:10]
    documents = zenodo(about, description), croissant(about, description, day, files, TABLE)
    texts = dict(zip(DESCRIPTIONS, map(pretty_json, documents), strict=True))
    texts["README.md"] = _readme(about, description, in_order, files)
    for name, text in texts.items():
        write_atomically(folder / name, text.encode("utf-8"))
    paths = sorted(folder / name for name in (*_WHAT, *texts))
    write_atomically(folder / SUMS, "".join(f"{hash_of(path)}  {path.name}\n" for path in paths).encode())
    return sum(path.stat().st_size for path in (*paths, folder / SUMS))


def _write_archive(path: Path, store: Store, artifacts: Sequence[Artifact], seen: Seen) -> None:
    """Files one after the other, stored: what is in them cannot be packed, and can be read from anywhere."""
    with replacing(path) as file, ZipFile(file, "w", ZIP_STORED) as archive:
        for done, artifact in enumerate(artifacts):
            seen(done, len(artifacts))
            member = ZipInfo(artifact.path, _FIRST_DAY)
            member.create_system, member.external_attr = 3, _PLAIN_FILE
            archive.writestr(member, store.artifacts.get_bytes(artifact.sha256))


def _file(path: Path, what: str, kind: str) -> File:
    return File(path.name, what, kind, path.stat().st_size, hash_of(path))


def _readme(about: About, description: str, records: Sequence[Record], files: Sequence[File]) -> str:
    boards = Counter((record.protocol.name, record.model.name) for record in records)
    people = "; ".join(one.name for one in about.creators)
    where = about.url or "the DOI of this deposit"
    rows = "\n".join(f"| `{one.name}` | {one.what} | {one.bytes:,} |" for one in files)
    counts = "\n".join(f"| {protocol} | {model} | {count:,} |" for (protocol, model), count in sorted(boards.items()))
    return f"""# {about.title}

{people}

{description}

| file | what it is | bytes |
| --- | --- | ---: |
{rows}
| `metadata.json` | What this is, for Zenodo's deposit API. | |
| `croissant.json` | Files and columns, in Croissant 1.0. | |
| `SHA256SUMS` | Of every file: `sha256sum -c SHA256SUMS`. | |

| protocol | model | records |
| --- | --- | ---: |
{counts}

## How it is read

```console
$ pip install poisonbench=={__version__}
$ poisonbench results merge {RECORDS}
$ poisonbench results fetch {about.place(ARCHIVE)}
$ poisonbench table
```

`merge` takes the records into a store, which refuses one that was changed; `fetch` brings their poison sets,
predictions and models, each checked against its record. `poisonbench gallery RECORD -o points.png` draws a poison
set, and `poisonbench.load_poison(RECORD)` is its tensors. Without poisonbench: `{RECORDS}` has one JSON document
a line; each names its artifacts by kind, SHA-256 and path in `{ARCHIVE}`, and those are safetensors.

## License and citation

{about.license}. Please cite {where}, and the paper whose protocol poisonbench implements: Yiwei Lu, Gautam Kamath and
Yaoliang Yu, Indiscriminate Data Poisoning Attacks on Neural Networks, Transactions on Machine Learning Research, 2022.
"""


def _settle(new: Path, folder: Path) -> None:
    """Put a deposit in its place; the very same may be there, of a command that was killed at its end."""
    if not (folder / SUMS).is_file():
        take_place(new, folder)
    elif (folder / SUMS).read_bytes() != (new / SUMS).read_bytes():
        raise _there(folder)


def _there(folder: Path) -> StoreError:
    return StoreError(f"{folder} is there already. Choose a new folder for the deposit.")
