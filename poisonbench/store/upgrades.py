"""Records of older schema versions, brought up to date one version at a time.

To change the schema: raise SCHEMA_VERSION, add the function that turns a document of the version before into one of the
new version, and keep a fixture of the old one in the tests. A released function is never edited. A signature, which
records have from version 5 on, is over a document of its version: whoever raises that says what becomes of signed ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal

from poisonbench.errors import ValidationError
from poisonbench.store.canonical import record_id_of

Document = dict[str, Any]
Upgrade = Callable[[Document], Document]

SCHEMA_VERSION: Literal[5] = 5


def _from_1(document: Document) -> Document:
    """Version 2 also has the accuracies of attack and defense alone, and the memory that the defense takes."""
    if document["metrics"] is not None:
        document["metrics"] = {**document["metrics"], "acc2_undefended": None, "acc1_defended": None}
    document["memory"] = {**document["memory"], "defense_rss_peak_mb": None, "defense_cuda_peak_mb": None}
    return document


def _from_2(document: Document) -> Document:
    """Version 3 has declared versions: 0 for what was made before there were any."""
    document |= {"engine": {"version": 0, "code_hash": None}}
    document["dataset"] = {**document["dataset"], "version": 0}
    document["model"] = {**document["model"], "version": 0, "code_hash": None}
    document["surrogate_version"] = None if document["surrogate"] is None else 0
    for kind in ("attack", "defense"):
        about = document[kind]
        versions = "+".join("0" for _ in about["name"].split("+"))
        document[kind] = {**about, "release": about["version"], "version": versions}
    return document


def _from_3(document: Document) -> Document:
    """Version 4 also has which test images were right, accuracy by epoch, the defender's own clean rows, and the rows
    that clean cost is told on: D_tr, before there were any others."""
    document["dataset"] = {**document["dataset"], "n_trusted": 0}
    metrics, detail = document["metrics"], document["defense_detail"]
    if metrics is not None:
        padded = None if metrics["acc1_defended"] is None else metrics["acc1"]
        document["metrics"] = {**metrics, "acc1_padded": padded, "answers": None}
    if detail is not None:
        document["defense_detail"] = {**detail, "trusted": None}
    return document | {"trajectories": None}


def _from_4(document: Document) -> Document:
    """Version 5 has signatures in the place of a name that anybody can type, which is dropped here, the code of dataset
    and surrogate, and no bounds of pixels, which are [0, 1] always."""
    document["dataset"] = {**document["dataset"], "code_hash": None}
    box = list(document["threat"].get("box", (0.0, 1.0)))
    if box != [0.0, 1.0]:
        raise ValidationError(f"record.threat.box: pixels are in [0, 1], got {str(box)[:80]}.")
    document["threat"] = {key: value for key, value in document["threat"].items() if key != "box"}
    source = "run" if document["provenance"]["source"] == "run" else "submission"
    return document | {"surrogate_code": None, "provenance": {"source": source, "verification": None}}


UPGRADES: Mapping[int, Upgrade] = MappingProxyType({1: _from_1, 2: _from_2, 3: _from_3, 4: _from_4})
"""From each older version to the next."""


def upgrade(document: Document, steps: Mapping[int, Upgrade] = UPGRADES, to: int = SCHEMA_VERSION) -> Document:
    """Bring a document to the current version; one that is current is returned as it came.

    An upgraded record is named anew, after its old name was checked against its old content: nothing that was tampered
    with is laundered by an upgrade.

    Raises:
        ValidationError: for a version that is newer than this poisonbench, that never was, or for a tampered document.
    """
    version = document.get("schema_version")
    if not isinstance(version, int) or isinstance(version, bool):
        raise ValidationError(f"record.schema_version: expected an integer in 1..{to}, got {str(version)[:80]!r}.")
    if version > to:
        raise ValidationError(
            f"record.schema_version: {version} is newer than this poisonbench reads ({to}). Upgrade poisonbench."
        )
    if version == to:
        return document
    if not all(step in steps for step in range(version, to)):
        raise ValidationError(
            f"record.schema_version: {version} was never a version; known: {min(steps, default=to)}..{to}."
        )
    if document.get("record_id") != record_id_of(document):
        raise ValidationError(f"record.record_id: the content's is {record_id_of(document)}: it was changed.")
    for step in range(version, to):
        try:
            document = steps[step]({**document}) | {"schema_version": step + 1}
        except (KeyError, TypeError, ValueError, AttributeError):
            raise ValidationError(f"record: it is not laid out as schema version {step} is.") from None
    return document | {"record_id": record_id_of(document)}
