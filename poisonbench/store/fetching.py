"""Artifacts that records name and a store lacks, brought from where they were put."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from poisonbench.errors import DataError
from poisonbench.files.scratch import scratch_folder
from poisonbench.store.artifact_sources import Source, reason
from poisonbench.store.artifacts import Kind
from poisonbench.store.database import Store
from poisonbench.store.record import Record
from poisonbench.store.record_origin import Artifact


@dataclass(frozen=True)
class Named:
    """An artifact, and the first record that names it."""

    artifact: Artifact
    record_id: str

    def __str__(self) -> str:
        return f"{self.artifact.kind} of record {self.record_id}, {self.artifact.path}"


@dataclass(frozen=True)
class FetchReport:
    """What became of each artifact that records name.

    Attributes:
        fetched: new in the store, or in the place of a damaged one.
        already_there: those that it had, undamaged.
        damaged: those that were damaged in it; replaced, if they are among the fetched.
        missing: those that the source has not.
        refused: those that are not what the record says or cannot be read, and why in one line.
        stopped: why nothing more could be had, in one line; None if all was tried.
        merged: ids of records that are new in the store.
    """

    fetched: tuple[Named, ...]
    already_there: tuple[Named, ...]
    damaged: tuple[Named, ...]
    missing: tuple[Named, ...]
    refused: tuple[tuple[Named, str], ...]
    stopped: str | None
    merged: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """Of what was fetched."""
        return sum(one.artifact.bytes for one in self.fetched)


def fetch(
    store: Store,
    records: Sequence[Record],
    source: Source,
    kinds: Collection[Kind],
    seen: Callable[[int, int, int], None] = lambda done, total, size: None,
) -> FetchReport:
    """Bring the artifacts of those kinds that records name and the store lacks, or has damaged. One that is not what
    its record says is refused, and the others go in; each is kept as it comes, so that a fetch that was interrupted
    goes on from there.

    A record that the store has not goes in, as `results merge` would take it, once all that was asked of it is there.

    Args:
        store: to bring them into.
        records: its own, or published ones.
        source: where they are looked for.
        kinds: of the artifacts.
        seen: hears how many are done, of how many, and the bytes so far.
    Raises:
        StoreError: if the store cannot be written.
    Cost: reads those that are there, too.
    """
    wanted = dict[tuple[str, int], Named]()
    for record in records:
        for artifact in record.artifacts:
            if artifact.kind in kinds:
                wanted.setdefault((artifact.sha256, artifact.bytes), Named(artifact, record.record_id))
    present = store.artifacts.present(sha256 for sha256, _ in wanted)
    damaged = {sha256 for sha256 in present if not store.artifacts.is_whole(sha256)}
    present -= damaged
    lacking = [one for one in wanted.values() if one.artifact.sha256 not in present]
    fetched, missing, refused = list[Named](), list[Named](), list[tuple[Named, str]]()
    stopped, size = None, 0
    with scratch_folder() as scratch:
        for done, one in enumerate(lacking):
            seen(done, len(lacking), size)
            try:
                file = source.find(one.artifact, scratch)
                if file is None:
                    missing.append(one)
                    continue
                store.artifacts.put_file(file, one.artifact)
            except DataError as error:
                refused.append((one, str(error).rstrip(".")))
                continue
            except OSError as error:
                stopped = reason(error)
                break
            finally:
                (scratch / one.artifact.path).unlink(missing_ok=True)
            fetched.append(one)
            size += one.artifact.bytes
    there = present | {one.artifact.sha256 for one in fetched}
    return FetchReport(
        fetched=tuple(fetched),
        already_there=tuple(one for one in wanted.values() if one.artifact.sha256 in present),
        damaged=tuple(one for one in wanted.values() if one.artifact.sha256 in damaged),
        missing=tuple(missing),
        refused=tuple(refused),
        stopped=stopped,
        merged=tuple(sorted(store.add_all(one for one in records if _is_whole(one, kinds, there)))),
    )


def _is_whole(record: Record, kinds: Collection[Kind], present: Collection[str]) -> bool:
    asked = [artifact.sha256 for artifact in record.artifacts if artifact.kind in kinds]
    return bool(asked) and all(sha256 in present for sha256 in asked)
