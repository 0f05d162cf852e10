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
from poisonbench.store.record import Artifact, Record
from poisonbench.store.tables import RECORDS, SET_ASIDE, STAGES, Entry, columns_of

_ARTIFACT = re.compile(r'"artifacts/[0-9a-f]{2}/([0-9a-f]{64})\.safetensors"')


def examine(connection: Connection, artifacts: Artifacts) -> dict[str, Any]:
    """Counts `records`, `stages`, `artifacts`, and lists:

        damaged             ids of records that cannot be read, are not what they name, or have other columns
        set_aside           ids of records that could not be brought up to date when the store was
        damaged_stages      keys of finished stages that cannot be read
        missing_artifacts   hashes of artifacts that records or stages have and the store has not
        lost_artifacts      those of them that were made here: of stages, and of records that were computed here
        damaged_artifacts   files whose bytes are not those that they are named by

    Cost: reads every document and every artifact.
    """
    damaged, wanted, made_here = [], set[str](), set[str]()
    for row in connection.execute(select(RECORDS)).mappings():
        named = _ARTIFACT.findall(str(row["document"]))
        wanted.update(named)
        if row["computed"]:
            made_here.update(named)
        if not _is_sound(dict(row)):
            damaged.append(row["record_id"])
    stages = dict(connection.execute(select(STAGES.c.key, STAGES.c.document)).all())
    for document in stages.values():
        made_here.update(_ARTIFACT.findall(str(document)))
    missing = {sha256 for sha256 in wanted | made_here if not artifacts.has(sha256)}
    return {
        "records": connection.scalar(select(func.count()).select_from(RECORDS)),
        "stages": len(stages),
        "damaged": sorted(damaged),
        "set_aside": sorted(_set_aside(connection)),
        "damaged_stages": sorted(key for key, document in stages.items() if not _is_a_stage(document)),
        "missing_artifacts": sorted(missing),
        "lost_artifacts": sorted(missing & made_here),
    }


def examine_artifacts(artifacts: Artifacts) -> dict[str, Any]:
    """The part of a report that needs no database."""
    return {
        "artifacts": len(artifacts.files()),
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
    for path in artifacts.files():
        try:
            artifacts.get_bytes(path.stem)
        except PoisonbenchError:
            yield str(path)
