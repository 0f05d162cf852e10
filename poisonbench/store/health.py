"""What can be wrong with a store's content: records, finished stages, artifacts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pydantic
from sqlalchemy import Connection, func, inspect, select

from poisonbench.errors import PoisonbenchError
from poisonbench.store.artifacts import Artifacts
from poisonbench.store.done import is_done, needed
from poisonbench.store.record import Record
from poisonbench.store.record_origin import Artifact
from poisonbench.store.tables import RECORDS, SET_ASIDE, STAGES, Entry, columns_of

_ARTIFACT = re.compile(r'"artifacts/[0-9a-f]{2}/([0-9a-f]{64})\.safetensors"')


def examine(connection: Connection, artifacts: Artifacts) -> dict[str, Any]:
    """Counts `records`, `stages`, `artifacts`, and lists:

        damaged             ids of records that cannot be read, are not what they name, or have other columns
        set_aside           ids of records that could not be brought up to date when the store was
        damaged_stages      keys of finished stages that cannot be read
        missing_artifacts   hashes of artifacts that records or stages have and the store has not
        undone              ids of good records that were computed here and lack artifacts which they need (see `done`),
                            so that their cells count as not run
        lost_artifacts      other missing ones that were made here: of stages, and of records that were computed here
        damaged_artifacts   those whose bytes are not what they are named by

    Cost: reads every document and every artifact.
    """
    damaged, wanted, made_here = [], set[str](), set[str]()
    present, undone = set(artifacts.names()), dict[str, str | None]()
    for row in connection.execute(select(RECORDS)).mappings():
        named = _ARTIFACT.findall(str(row["document"]))
        wanted.update(named)
        if row["computed"]:
            made_here.update(named)
            if row["status"] == "ok" and not is_done(row["record_id"], row["status"], row["needs"], present):
                undone[row["record_id"]] = row["needs"]
        if not _is_sound(dict(row)):
            damaged.append(row["record_id"])
    stages = dict(connection.execute(select(STAGES.c.key, STAGES.c.document)).all())
    for document in stages.values():
        made_here.update(_ARTIFACT.findall(str(document)))
    missing = (wanted | made_here) - present
    return {
        "records": connection.scalar(select(func.count()).select_from(RECORDS)),
        "stages": len(stages),
        "damaged": sorted(damaged),
        "set_aside": sorted(_set_aside(connection)),
        "damaged_stages": sorted(key for key, document in stages.items() if not _is_a_stage(document)),
        "undone": sorted(undone),
        "missing_artifacts": sorted(missing),
        "lost_artifacts": sorted((missing & made_here) - needed(undone.values())),
    }


def examine_artifacts(artifacts: Artifacts) -> dict[str, Any]:
    """The part of a report that needs no database."""
    return {
        "artifacts": len(artifacts.names()),
        "damaged_artifacts": list(_damaged(artifacts)),
    }


def _is_sound(row: dict[str, Any]) -> bool:
    try:
        entry = Entry(row["computed"], row["added_at"])
        return columns_of(Record.read(json.loads(row["document"])), entry, row["exit_code"]) == row
    except (ValueError, TypeError, RecursionError, PoisonbenchError):
        return False


def _is_a_stage(document: str) -> bool:
    try:
        stage = json.loads(document)
        Artifact.model_validate(stage["artifact"])
        return isinstance(stage["facts"], dict) and isinstance(stage["seconds"], int | float)
    except (ValueError, TypeError, RecursionError, KeyError, pydantic.ValidationError):
        return False


def _set_aside(connection: Connection) -> list[str]:
    there = inspect(connection).has_table(SET_ASIDE.name)
    return list(connection.scalars(select(SET_ASIDE.c.record_id))) if there else []


def _damaged(artifacts: Artifacts) -> Iterator[str]:
    for name in artifacts.names():
        try:
            artifacts.get_bytes(name)
        except PoisonbenchError:
            yield artifacts.where(name)
