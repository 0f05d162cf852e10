"""The two tables, and what of a record is copied into columns so that lists and filters parse no JSON."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Integer, MetaData, String, Table, Text

from poisonbench.store.canonical import canonical_json
from poisonbench.store.record import Record

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
    Column("verified_by", String),
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
    Column("exit_code", Integer),
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
    equal is equal text."""

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
    verified_by: str | None
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


COLUMNS = Row._fields


def row_of(record: Record) -> Row:
    """The columns of a record, as a store has them."""
    metrics, detail = record.metrics, record.defense_detail
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
        verified_by=record.provenance.verified_by,
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
    )


def columns_of(record: Record, computed: bool = False, exit_code: int | None = None) -> dict[str, Any]:
    """A record as a row of the table, document included.

    Args:
        record: it.
        computed: whether it was computed into this store.
        exit_code: of the command that computed it; None if nobody knows.
    """
    row = row_of(record)
    return {name: getattr(row, name) for name in COLUMNS} | {
        "schema_version": record.schema_version,
        "computed": computed,
        "exit_code": exit_code,
        "document": canonical_json(record.document()),
    }
