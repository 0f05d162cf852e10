"""The tables, and what of a record is copied into columns so that lists and filters parse no JSON."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

from poisonbench.store.canonical import canonical_json
from poisonbench.store.done import needs
from poisonbench.store.record import Record
from poisonbench.store.shipped import shipped_ids
from poisonbench.store.trusted_keys import verifier

METADATA = MetaData()

RECORDS = Table(
    "records",
    METADATA,
    Column("record_id", String, primary_key=True),
    Column("schema_version", Integer, nullable=False),
    Column("cell_hash", String, nullable=False),
    Column("status", String, nullable=False),
    Column("protocol", String, nullable=False),
    Column("protocol_version", Integer, nullable=False),
    Column("protocol_hash", String, nullable=False),
    Column("locked", Boolean, nullable=False),
    Column("deviations", String, nullable=False),
    Column("engine_version", Integer, nullable=False),
    Column("engine_code", String),
    Column("ranked", Boolean, nullable=False),
    Column("source", String, nullable=False),
    Column("signed_with", String),
    Column("dataset", String, nullable=False),
    Column("dataset_version", Integer, nullable=False),
    Column("dataset_sha256", String, nullable=False),
    Column("n_test", BigInteger, nullable=False),
    Column("model", String, nullable=False),
    Column("model_version", Integer, nullable=False),
    Column("model_code", String),
    Column("attack", String, nullable=False),
    Column("attack_version", String, nullable=False),
    Column("attack_code", String, nullable=False),
    Column("attack_params", String, nullable=False),
    Column("surrogate", String),
    Column("surrogate_version", Integer),
    Column("defense", String, nullable=False),
    Column("defense_version", String, nullable=False),
    Column("defense_code", String, nullable=False),
    Column("defense_params", String, nullable=False),
    Column("epsilon", Float(53), nullable=False),
    Column("whole_set", Boolean, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("acc1", Float(53)),
    Column("acc2", Float(53)),
    Column("drop", Float(53)),
    Column("clean_cost", Float(53)),
    Column("trusted", BigInteger),
    Column("total_s", Float(53), nullable=False),
    Column("finished_at", String, nullable=False),
    Column("computed", Boolean, nullable=False),
    Column("added_at", String, nullable=False),
    Column("exit_code", Integer),
    Column("needs", String),
    Column("document", Text, nullable=False),
    Index("records_by_cell", "cell_hash"),
    Index("records_by_schema", "schema_version"),
)

STAGES = Table(
    "stages",
    METADATA,
    Column("key", String, primary_key=True),
    Column("kind", String, nullable=False),
    Column("document", Text, nullable=False),
    Column("created_at", String, nullable=False),
)

CHUNKS = Table(
    "artifact_chunks",
    MetaData(),
    Column("sha256", String, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("data", LargeBinary, nullable=False),
)
"""Artifacts, where the database is a server's: each in rows of 1 MiB, numbered from 0."""

SET_ASIDE = Table(
    "set_aside",
    MetaData(),
    Column("record_id", String, primary_key=True),
    Column("document", Text, nullable=False),
)
"""Records that could not be brought up to date with the store. It is made when there is one: most stores have none."""


class Row(NamedTuple):
    """A record's columns: what a list, a filter or a table needs. Accuracies in percent, null if the cell has none;
    trusted rows as the record's `DefenseDetail` has them; parameters and deviations as canonical JSON, so that what is
    equal is equal text; `signed_with` is the public key of a verifier, trusted or not; `computed` and `added_at` as an
    `Entry` has them."""

    record_id: str
    cell_hash: str
    status: str
    protocol: str
    protocol_version: int
    protocol_hash: str
    locked: bool
    deviations: str
    engine_version: int
    engine_code: str | None
    ranked: bool
    source: str
    signed_with: str | None
    dataset: str
    dataset_version: int
    dataset_sha256: str
    n_test: int
    model: str
    model_version: int
    model_code: str | None
    attack: str
    attack_version: str
    attack_code: str
    attack_params: str
    surrogate: str | None
    surrogate_version: int | None
    defense: str
    defense_version: str
    defense_code: str
    defense_params: str
    epsilon: float
    whole_set: bool
    seed: int
    acc1: float | None
    acc2: float | None
    drop: float | None
    clean_cost: float | None
    trusted: int | None
    total_s: float
    finished_at: str
    computed: bool
    added_at: str

    @property
    def verified_by(self) -> str | None:
        """Who verified the record, if it is somebody whose word counts."""
        return verifier(self.signed_with, self.record_id)

    @property
    def vouched_for(self) -> bool:
        """See the function of that name."""
        return vouched_for(self.record_id, self.computed)


class Entry(NamedTuple):
    """How a record came into a store.

    Attributes:
        computed: whether it was computed there, and not merged.
        added_at: when, as the store's own clock says; empty of an old store's.
    """

    computed: bool
    added_at: str


COMPUTED = Entry(True, "")
"""How a record that is in no store came to whoever has it: by computing it."""


COLUMNS = Row._fields


def vouched_for(record_id: str, computed: bool) -> bool:
    """Whether a record answers for its cell: its store computed it, or it ships with poisonbench. Nobody vouches for
    what else was merged, whatever it says of itself."""
    return computed or record_id in shipped_ids()


def row_of(record: Record, entry: Entry = COMPUTED) -> Row:
    """The columns of a record, as a store has them that it came into that way."""
    metrics, detail = record.metrics, record.defense_detail
    verification = record.provenance.verification
    return Row(
        record_id=record.record_id,
        cell_hash=record.cell_hash,
        status=record.status,
        protocol=record.protocol.name,
        protocol_version=record.protocol.version,
        protocol_hash=record.protocol.hash,
        locked=record.protocol.locked,
        deviations=canonical_json(list(record.protocol.deviations)),
        engine_version=record.engine.version,
        engine_code=record.engine.code_hash,
        ranked=record.ranked,
        source=record.provenance.source,
        signed_with=verification.key if verification else None,
        dataset=record.dataset.name,
        dataset_version=record.dataset.version,
        dataset_sha256=record.dataset.sha256,
        n_test=record.dataset.n_test,
        model=record.model.name,
        model_version=record.model.version,
        model_code=record.model.code_hash,
        attack=record.attack.name,
        attack_version=record.attack.version,
        attack_code=record.attack.code_hash,
        attack_params=canonical_json(record.attack.params),
        surrogate=record.surrogate,
        surrogate_version=record.surrogate_version,
        defense=record.defense.name,
        defense_version=record.defense.version,
        defense_code=record.defense.code_hash,
        defense_params=canonical_json(record.defense.params),
        epsilon=record.threat.epsilon,
        whole_set=record.whole_set,
        seed=record.seeds.run,
        acc1=metrics.acc1 if metrics else None,
        acc2=metrics.acc2 if metrics else None,
        drop=metrics.drop if metrics else None,
        clean_cost=metrics.clean_cost if metrics else None,
        trusted=detail.trusted if detail else None,
        total_s=record.timing.total_s,
        finished_at=record.finished_at,
        computed=entry.computed,
        added_at=entry.added_at,
    )


def columns_of(record: Record, entry: Entry, exit_code: int | None = None) -> dict[str, Any]:
    """A record as a row of the table, document included.

    Args:
        record: it.
        entry: how it came into the store.
        exit_code: of the command that computed it; None if nobody knows.
    """
    return row_of(record, entry)._asdict() | {
        "schema_version": record.schema_version,
        "exit_code": exit_code,
        "needs": needs(record),
        "document": canonical_json(record.document()),
    }
