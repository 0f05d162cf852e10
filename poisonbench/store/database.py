"""The store: records and finished stages in SQLite (or PostgreSQL), tensors and locks in the home folder beside it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any, Self

from sqlalchemy import (
    JSON,
    Connection,
    MetaData,
    Select,
    Table,
    case,
    cast,
    false,
    func,
    insert,
    inspect,
    literal,
    null,
    or_,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite

from poisonbench.errors import StoreError, UnknownNameError, ValidationError, unknown
from poisonbench.files.atomic import probe
from poisonbench.store import health
from poisonbench.store.artifact_table import ArtifactTable
from poisonbench.store.artifacts import ArtifactFolder, Artifacts, Kind
from poisonbench.store.canonical import canonical_json
from poisonbench.store.connections import BUSY_SECONDS, OPENING_SECONDS, Connections, advice_on, blocks, patiently
from poisonbench.store.done import is_done, missing, needed
from poisonbench.store.location import Location, locate
from poisonbench.store.locks import locked
from poisonbench.store.record import Record
from poisonbench.store.record_ids import LOOKED_AT, refuse_several
from poisonbench.store.tables import (
    CHUNKS,
    COLUMNS,
    METADATA,
    RECORDS,
    SET_ASIDE,
    STAGES,
    Entry,
    Row,
    columns_of,
    vouched_for,
)
from poisonbench.store.upgrades import SCHEMA_VERSION

FREE_BYTES = 64 * 2**20
"""Below this much free space no work is started: a cell's artifacts could not be kept."""

_LOST = "lost"
"""In the place of a record's status: it is good, and its artifacts are gone."""

_OLDER = "records_before_upgrade"
"""Where records lie while they are laid anew."""


class Store:
    """Records, finished stages and artifacts of one place. Open one with `Store.open`; it is a context manager.

    Any number of processes may share it: a writer takes SQLite's write lock before it reads (BEGIN IMMEDIATE), so no
    two of them can decide on the same stale state.

    Attributes:
        location: where it is.
        home: the folder of artifacts/, checkpoints/ and locks/.
        artifacts: the tensors.
        unreadable: records that were left out of what was asked for because they cannot be read: why, by their ids.
    """

    def __init__(self, location: Location) -> None:
        self.location = location
        self.home = location.home
        self.connections = Connections(location)
        self.artifacts: Artifacts = (
            ArtifactFolder(location.home) if location.file else ArtifactTable(self.connections, location)
        )
        self.unreadable: dict[str, str] = {}
        self._read, self._write = self.connections.read, self.connections.write

    @classmethod
    def open(cls, url: str | os.PathLike[str] | None = None, patience: float = OPENING_SECONDS) -> Self:
        """Open a store, and make it if there is none.

        Args:
            url: `sqlite:///FILE`, `postgresql+psycopg://HOST/NAME`, a folder, a `.db` file, or None for the default:
                `store.db` in $POISONBENCH_HOME or in the platform's folder for a user's data.
            patience: seconds to wait for a server that is not to be reached; once open it is waited for longer.
        Raises:
            UsageError: if the URL names no database that is supported.
            StoreError: if it can neither be opened nor made.
        """
        store = cls(locate(url))
        store.connections.patience = patience
        try:
            if not store._exists():
                store._create()
            store._upgrade()
        except BaseException:
            store.close()
            raise
        store.connections.patience = BUSY_SECONDS
        return store

    def close(self) -> None:
        """Let go of the database."""
        self.connections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, record: Record, exit_code: int | None = None) -> bool:
        """Keep a record that was computed into this store; whether it is new. To add it twice is to add it once.

        Args:
            record: to keep.
            exit_code: what the command ends in that computed it; see `failures`.
        Raises:
            StoreError: if the store cannot be written.
        """
        return bool(self._add([columns_of(record, Entry(True, _now()), exit_code)]))

    def add_all(self, records: Iterable[Record], computed: bool = False) -> set[str]:
        """Keep records in one transaction, all or none; the ids of those that are new.

        Args:
            records: to keep.
            computed: whether they were computed into this store. Only those, and those that ship with poisonbench, are
                an answer to who wants to run their cell: nobody vouches for what else was merged.
        """
        entry = Entry(computed, _now())
        return self._add([columns_of(record, entry) for record in records])

    @patiently
    def _add(self, rows: Sequence[Mapping[str, Any]]) -> set[str]:
        if not rows:
            return set()
        statement = self._insert(RECORDS).on_conflict_do_nothing().returning(RECORDS.c.record_id)
        in_order = sorted(rows, key=lambda row: str(row["record_id"]))  # so that no two wait for each other
        with self._write("write to") as connection:
            return set(connection.scalars(statement, in_order))

    def rows(self, **filters: object) -> list[Row]:
        """The columns of every record that fits, oldest first; parses no document, so 100,000 take a second.

        Args:
            **filters: a column of `Row` and the value it must have, or a list of values of which it must have one.
        Raises:
            UnknownNameError: for a filter that is no column; suggests the nearest.
        """
        statement = self._select(*COLUMNS, **filters)
        return list(map(Row._make, self._all(statement)))

    def records(self, **filters: object) -> list[Record]:
        """Every record that fits, oldest first; filters as in `rows`. One that cannot be read keeps no other back: see
        `unreadable`.

        Cost: about 0.1 ms a record to parse and verify; use `rows` to list many.
        """
        return self._readable(self._select("record_id", "document", **filters))

    def entries(self) -> dict[str, Entry]:
        """How each record came into this store, by its id; parses no document."""
        columns = RECORDS.c.record_id, RECORDS.c.computed, RECORDS.c.added_at
        return {name: Entry(computed, at) for name, computed, at in self._all(select(*columns))}

    def answers(self, record_ids: Sequence[str]) -> dict[str, tuple[str, str]]:
        """By record id, which test images were right before and after attack and defense, as records have it; those
        without answers are left out. Parses no whole record."""
        document = RECORDS.c.document
        if self.location.file is None:
            found = [cast(document, JSON)["metrics"]["answers"][name].as_string() for name in ("clean", "attacked")]
        else:  # a document that is no JSON has no answers, and keeps those of no other back
            paths = [func.json_extract(document, f"$.metrics.answers.{name}") for name in ("clean", "attacked")]
            found = [case((func.json_valid(document), path)) for path in paths]
        rows: dict[str, tuple[str, str]] = {}
        for block in blocks(record_ids):
            statement = select(RECORDS.c.record_id, *found).where(RECORDS.c.record_id.in_(block))
            rows |= {name: (clean, attacked) for name, clean, attacked in self._all(statement) if clean is not None}
        return rows

    def latest(self, most: int, **filters: object) -> list[Record]:
        """The latest records that fit, at most that many, latest first; as in `records`."""
        statement = self._select("record_id", "document", **filters).order_by(None)
        return self._readable(statement.order_by(RECORDS.c.finished_at.desc(), RECORDS.c.record_id.desc()).limit(most))

    def record(self, record_id: str) -> Record:
        """The record of that id, or of a prefix that only one id has.

        Raises:
            UnknownNameError: if there is none, or more than one.
        """
        prefix, ids = record_id.lower(), RECORDS.c.record_id
        statement = select(ids, RECORDS.c.document).where(ids.startswith(prefix, autoescape=True)).order_by(ids)
        found = self._all(statement.limit(LOOKED_AT)) if prefix else []
        refuse_several(record_id, [name for name, _ in found])
        alike = select(ids).where(ids.startswith(prefix[:1], autoescape=True)).limit(10_000)
        near = [name for (name,) in self._all(alike)]
        ((total,),) = self._all(select(func.count()).select_from(RECORDS))
        if not found:
            # Ids are random digits, of which half agree by chance: only a slip of the finger is near.
            whole = {id_[: len(prefix)]: id_ for id_ in near if prefix}
            hint = [f" Did you mean {whole[near]!r}?" for near in get_close_matches(prefix, whole, n=1, cutoff=0.8)]
            raise UnknownNameError(f"No record {record_id[:80]!r} among the {total} of {self.location}.{''.join(hint)}")
        record = self._read_one(*found[0])
        if record is None:
            raise StoreError(
                f"Record {found[0][0]} of {self.location} is damaged: {self.unreadable[found[0][0]]}. Merge an export."
            )
        return record

    def for_cell(self, cell_hash: str) -> Record | None:
        """The latest record by which that exact cell is done, or None; see `statuses`. One that cannot be read is no
        answer."""
        names = ("record_id", "computed", "status", "needs", "document")
        latest = self._all(self._select(*names, cell_hash=cell_hash, status="ok"))[::-1]
        done = self._done(latest)
        readable = (self._read_one(row.record_id, row.document) for row in latest if row.record_id in done)
        return next((record for record in readable if record is not None), None)

    def failures(self, cell_hashes: Iterable[str]) -> dict[str, tuple[str, int]]:
        """Why cells have no trusted record that is ok, by cell hash: the error of the latest record, and the exit code
        of the command that made it, 1 if nobody knows."""
        failed = [name for name, status in self.statuses(cell_hashes).items() if status != "ok"]
        names, found = ("record_id", "computed", "exit_code", "document"), dict[str, tuple[str, int]]()
        for block in blocks(failed):
            for row in self._all(self._select(*names, cell_hash=block)):  # oldest first: the latest stays
                if vouched_for(row.record_id, row.computed) and (record := self._read_one(row.record_id, row.document)):
                    found[record.cell_hash] = record.error or record.status, row.exit_code or 1
        return found

    def statuses(self, cell_hashes: Iterable[str]) -> dict[str, str]:
        """What became of cells by their trusted records (see `add_all`): ok if one is good and its artifacts are here
        (see `done`), else the status of the latest record. Cells that have no record, or whose latest lacks its
        artifacts, are left out: they are to be run. Parses no document.
        """
        names, found = ("record_id", "computed", "cell_hash", "status", "needs"), dict[str, str]()
        for block in blocks(list(dict.fromkeys(cell_hashes))):
            rows = self._all(self._select(*names, cell_hash=block))
            done = self._done(rows)
            for row in rows:
                if found.get(row.cell_hash) != "ok" and vouched_for(row.record_id, row.computed):
                    lost = row.status == "ok" and row.record_id not in done
                    found[row.cell_hash] = _LOST if lost else row.status
        return {name: status for name, status in found.items() if status != _LOST}

    def lacking(self, records: Sequence[Record]) -> dict[str, list[Kind]]:
        """Which of the artifacts that they need (see `done`) are not here, by record id; of those that lack any."""
        present = self.artifacts.present(artifact.sha256 for record in records for artifact in record.artifacts)
        return {record.record_id: kinds for record in records if (kinds := missing(record, present))}

    def _done(self, rows: Sequence[Any]) -> set[str]:
        """The ids of those by which a cell is done."""
        present = self.artifacts.present(needed(row.needs for row in rows if row.status == "ok"))
        return {
            row.record_id
            for row in rows
            if vouched_for(row.record_id, row.computed) and is_done(row.record_id, row.status, row.needs, present)
        }

    def stage(self, key: str) -> dict[str, Any] | None:
        """The document of a finished stage, or None if no stage of that key was finished."""
        found = self._all(select(STAGES.c.document).where(STAGES.c.key == key))
        if not found:
            return None
        try:
            return dict(json.loads(found[0][0]))
        except ValueError as error:
            raise StoreError(
                f"Stage {key[:16]} of {self.location} is damaged: {error}. {advice_on('malformed')}"
            ) from error

    @patiently
    def put_stage(self, key: str, kind: str, document: dict[str, Any]) -> None:
        """Keep a finished stage; a later one of the same key takes its place.

        Raises:
            StoreError: if the store cannot be written.
            ValidationError: if the document is not JSON.
        """
        row = {"key": key, "kind": kind, "document": canonical_json(document), "created_at": _now()}
        statement = self._insert(STAGES).values(row)
        replaced = {name: statement.excluded[name] for name in ("kind", "document", "created_at")}
        with self._write("write to") as connection:
            connection.execute(statement.on_conflict_do_update(index_elements=["key"], set_=replaced))

    def lock(
        self, key: str, timeout: float = -1, waiting: Callable[[], None] | None = None
    ) -> AbstractContextManager[None]:
        """Hold `key` among all processes that share this home, so that one computes a stage and the others wait for it.

        Not reentrant. A killed process holds nothing. Raises StoreError when `timeout` seconds (−1: any) were too few.
        `waiting` is called before this waits for another process.
        """
        return locked(self.home / "locks", key, timeout, waiting)

    @patiently
    def share(self) -> None:
        """Let other machines write to the database through a network file system, where SQLite's write-ahead log cannot
        work; it stays so. A server needs none of it.

        Raises:
            StoreError: if another process has it open and does not let go.
        """
        if self.location.file:
            with self.connections.guard("share"), self.connections.connect(write=True) as connection:
                connection.connection.cursor().execute("PRAGMA journal_mode = DELETE")

    def writable(self) -> None:
        """Make sure, before any work starts, that its result can be kept.

        Raises:
            StoreError: naming what cannot be written and what to do.
        """
        row = {"key": f"probe-{os.getpid()}", "kind": "probe", "document": "{}", "created_at": _now()}
        with (
            self.connections.guard("write to"),
            self.connections.connect(write=True) as connection,
            connection.begin() as transaction,
        ):
            connection.execute(insert(STAGES).values(row))
            transaction.rollback()
        for part in self.location.folders:
            try:
                probe(self.home / part)
            except OSError as error:
                reason = error.strerror or error
                raise StoreError(
                    f"Cannot write to {self.home / part}: {reason}. Choose a writable store with --store PATH."
                ) from error
        free = shutil.disk_usage(self.home).free
        if free < FREE_BYTES:
            raise StoreError(
                f"{self.home} has {free / 2**20:.0f} MiB left, at least {FREE_BYTES / 2**20:.0f} are needed. "
                f"Free some space or choose another store with --store PATH."
            )

    def check(self) -> dict[str, Any]:
        """The store's health, for `doctor`: never raises for what it finds.

        Returns:
            `store`, `home`, `integrity` ("ok" or SQLite's own words), `writable` (true or the reason it is not), and
            what `health.examine` and `health.examine_artifacts` find.
        Cost: reads every document and every artifact.
        """
        report: dict[str, Any] = {
            "store": str(self.location),
            "home": str(self.home),
            "integrity": "ok",
            "writable": True,
        }
        try:
            self.writable()
        except StoreError as error:
            report["writable"] = str(error)
        try:
            with self._read() as connection:
                if self.location.file:
                    report["integrity"] = str(connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar())
                report |= health.examine(connection, self.artifacts)
        except StoreError as error:
            report["integrity"] = str(error)
        return report | health.examine_artifacts(self.artifacts)

    @patiently
    def _exists(self) -> bool:
        if self.location.file and not self.location.file.exists():
            return False
        with self.connections.guard("open"), self.connections.connect() as connection:
            there = set(inspect(connection).get_table_names())
        if there and self.location.file and not there & set(METADATA.tables):
            raise StoreError(f"{self.location} is a database of something else. Choose another path with --store PATH.")
        return {name for tables in self._tables() for name in tables.tables} <= there

    def _tables(self) -> tuple[MetaData, ...]:
        return (METADATA,) if self.location.file else (METADATA, CHUNKS.metadata)

    @patiently
    def _create(self) -> None:
        try:
            self.home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"Cannot make the store's folder {self.home}: {error.strerror or error}. "
                f"Choose another with --store PATH."
            ) from error
        # Two first processes at once: SQLite does not wait for a lock while it changes to WAL.
        with self.lock("create the store"), self.connections.guard("make"):
            if self.location.file and "mode" not in self.location.url.query:
                self.location.file.touch()  # SQLite would keep a group out that the umask lets in
            self._make_tables()

    def _make_tables(self) -> None:
        with self.connections.connect(write=True) as connection:
            if self.location.file:
                connection.connection.cursor().execute("PRAGMA journal_mode = WAL")
            with connection.begin():
                self.connections.lay(connection)
                for tables in self._tables():
                    tables.create_all(connection)

    @patiently
    def _upgrade(self) -> None:
        """Lay the records anew, if any is of an older schema version or the table of an older layout, so that names,
        columns and documents agree from here on."""
        with self._read() as connection:
            if not self._outdated(connection):
                return
        with self.lock("upgrade the store"), self._write("upgrade") as connection:
            self.connections.lay(connection)
            if self._outdated(connection):  # still: no other process did it meanwhile
                self._lay_anew(connection)

    def _outdated(self, connection: Connection) -> bool:
        """Whether it is to be laid anew; StoreError if a newer poisonbench laid it."""
        layout = _layout(connection)
        newest = select(func.max(RECORDS.c.schema_version))
        if "schema_version" in layout and (connection.execute(newest).scalar() or 0) > SCHEMA_VERSION:
            raise StoreError(f"{self.location} was written by a newer poisonbench. Upgrade this one to open it.")
        if layout != set(RECORDS.c.keys()):
            return True
        older = select(RECORDS.c.record_id).where(RECORDS.c.schema_version < SCHEMA_VERSION).limit(1)
        return connection.execute(older).first() is not None

    def _lay_anew(self, connection: Connection) -> None:
        for index in Table(RECORDS.name, MetaData(), autoload_with=connection).indexes:
            index.drop(connection)
        connection.exec_driver_sql(f"ALTER TABLE {RECORDS.name} RENAME TO {_OLDER}")
        older = Table(_OLDER, MetaData(), autoload_with=connection)
        RECORDS.create(connection)
        computed = older.c.computed if "computed" in older.c else false()
        added_at = older.c.added_at if "added_at" in older.c else literal("")
        exit_code = older.c.exit_code if "exit_code" in older.c else null()
        columns = older.c.record_id, older.c.document, computed, added_at, exit_code
        for record_id, document, was_computed, added, code in connection.execute(select(*columns)):
            record = self._read_one(record_id, document)
            if record is None:
                SET_ASIDE.create(connection, checkfirst=True)
                aside = self._insert(SET_ASIDE).values(record_id=record_id, document=document)
                connection.execute(aside.on_conflict_do_nothing())
            else:
                row = columns_of(record, Entry(bool(was_computed), added), code)
                connection.execute(self._insert(RECORDS).values(row).on_conflict_do_nothing())
        older.drop(connection)

    def _readable(self, statement: Select[Any]) -> list[Record]:
        return [record for row in self._all(statement) if (record := self._read_one(row.record_id, row.document))]

    def _read_one(self, record_id: str, document: str) -> Record | None:
        """A record, or None if it is unreadable; then `unreadable` has the reason."""
        try:
            return Record.read(json.loads(document))
        except (ValueError, TypeError, RecursionError, ValidationError) as error:
            self.unreadable[record_id] = str(error).rstrip(".")
            return None

    @patiently
    def _all(self, statement: Select[Any]) -> Sequence[Any]:
        """All that a query finds."""
        with self._read() as connection:
            return connection.execute(statement).all()

    def _select(self, *columns: str, **filters: object) -> Select[Any]:
        statement = select(*(RECORDS.c[name] for name in columns))
        for name, value in filters.items():
            if name not in COLUMNS:
                raise UnknownNameError(unknown("filter", name, list(COLUMNS)))
            column = RECORDS.c[name]
            if not isinstance(value, list | tuple | set | frozenset):
                statement = statement.where(column == value)
            elif None in value:  # SQL's IN never finds NULL
                statement = statement.where(or_(column.in_(value), column.is_(None)))
            else:
                statement = statement.where(column.in_(value))
        return statement.order_by(RECORDS.c.finished_at, RECORDS.c.record_id)

    def _insert(self, table: Table) -> sqlite.Insert | postgresql.Insert:
        # The two dialects spell "on conflict" alike, but SQLAlchemy keeps a class for each.
        return sqlite.insert(table) if self.location.file else postgresql.insert(table)


def _layout(connection: Connection) -> set[str]:
    """The names of the record table's columns."""
    return {column["name"] for column in inspect(connection).get_columns(RECORDS.name)}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
