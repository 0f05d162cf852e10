"""The connections to a store's database: transactions that wait for a busy one, and whose failures are one line."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, func, select
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import NullPool
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from poisonbench.errors import PoisonbenchError, StoreError
from poisonbench.store.location import Location

BUSY_SECONDS = 30
"""How long a database is waited for that others hold or that is not to be reached for a moment."""

OPENING_SECONDS = 2
"""How long a server is waited for when a store is opened: its URL may be wrong."""

_MOST_VALUES = 10_000
"""In one query; SQLite takes 32,766."""

_CONNECT_SECONDS = 10
"""How long a server may take to answer at all."""

_LAYING = 0x706F69736F6E
"""The advisory lock of whoever lays the tables."""

_PASSING = ("40001", "40P01", "53300", "57P01", "57P02", "57P03")
"""SQLSTATEs of what is over when it is tried again: serialization, deadlock, too many connections, server restarts."""

_ADVICE = {
    "readonly": "Make it writable, or choose another store with --store PATH.",
    "not a database": "It is no poisonbench store; choose another path with --store PATH.",
    "malformed": "Restore it from a backup, or merge an export into a new store.",
    "disk is full": "Free some space, then run again.",
    "locked": f"Another process held it for {BUSY_SECONDS} s; run again when that one is done.",
    "unable to open": "Check that its folder exists and is writable, or choose another with --store PATH.",
    "connection failed": "Check the URL of --store, and that its server is up and lets you in.",
    "connection timeout": "Check the URL of --store, and that its server is up.",
}

P = ParamSpec("P")
T = TypeVar("T")


class Patient(Protocol):
    """What has patience with its database.

    Attributes:
        connections: to it.
    """

    connections: Connections


Owner = TypeVar("Owner", bound=Patient)


def patiently(method: Callable[Concatenate[Owner, P], T]) -> Callable[Concatenate[Owner, P], T]:
    """Call a method again, whose transactions may be repeated, while its server is busy, restarting or not reached.

    SQLite needs none of it: it waits for its lock itself.
    """

    @wraps(method)
    def call(owner: Owner, /, *args: P.args, **kwargs: P.kwargs) -> T:
        retrying = Retrying(
            retry=retry_if_exception(_passes),
            stop=stop_after_delay(owner.connections.patience),
            wait=wait_random_exponential(0.1, max=2),
            reraise=True,
        )
        return retrying(method, owner, *args, **kwargs)

    return call


def _passes(error: BaseException) -> bool:
    """Whether a failure of a server is over when it is tried again; one to connect has no SQLSTATE."""
    failure = error.__cause__ if isinstance(error, StoreError) else None
    driver = failure.orig if isinstance(failure, DBAPIError) else None
    if not hasattr(driver, "sqlstate"):  # as of SQLite
        return False
    state: str | None = getattr(driver, "sqlstate", None)
    if state is None:
        return isinstance(failure, OperationalError)
    return state in _PASSING or state.startswith("08")


class Connections:
    """Transactions of a store's database.

    Attributes:
        patience: how long it is waited for, in seconds, by what is done `patiently`.
    """

    def __init__(self, location: Location) -> None:
        """Raises StoreError if the database's driver is not installed."""
        self._location = location
        self.patience: float = OPENING_SECONDS
        try:
            self._engine = _engine(location.url, readonly=_needs_immutable(location))
        except ImportError as error:
            raise StoreError(
                f"{location} needs {error.name}. Install it with: pip install 'poisonbench[postgresql]'"
            ) from error

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that reads."""
        with self.guard("read"), self.connect() as connection:
            yield connection

    @contextmanager
    def write(self, doing: str) -> Iterator[Connection]:
        """A transaction: all of it is done, or nothing."""
        with self.guard(doing), self.connect(write=True) as connection, connection.begin():
            yield connection

    @contextmanager
    def connect(self, write: bool = False) -> Iterator[Connection]:
        """A connection whose transactions are the caller's."""
        with self._engine.connect().execution_options(poisonbench_write=write) as connection:
            yield connection

    def lay(self, connection: Connection) -> None:
        """Be the only one who lays tables until the transaction ends, on whatever machine. SQLite's writers are alone
        from the start."""
        if self._location.file is None:
            connection.execute(select(func.pg_advisory_xact_lock(_LAYING)))

    @contextmanager
    def guard(self, doing: str) -> Iterator[None]:
        """Say every failure of the database in one line; driver errors inside event hooks come unwrapped."""
        try:
            yield
        except PoisonbenchError:
            raise
        except (SQLAlchemyError, sqlite3.Error, OverflowError) as error:
            cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
            reason = (str(cause).strip() or type(cause).__name__).splitlines()[0][:300].rstrip(".")
            advice = advice_on(reason)
            raise StoreError(f"Cannot {doing} the store {self._location}: {reason}. {advice}") from error


def blocks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """Values in as many parts as one query takes each."""
    return (values[start : start + _MOST_VALUES] for start in range(0, len(values), _MOST_VALUES))


def advice_on(reason: str) -> str:
    """What to do about a failure of the database."""
    return next((text for sign, text in _ADVICE.items() if sign in reason), "Run `poisonbench doctor`.")


def _engine(url: URL, readonly: bool) -> Engine:
    if url.get_backend_name() != "sqlite":
        waiting = {} if "connect_timeout" in url.query else {"connect_timeout": _CONNECT_SECONDS}
        return create_engine(url, pool_pre_ping=True, pool_size=1, connect_args=waiting)
    if readonly:
        url = url.set(database=f"file:{url.database}").update_query_dict(
            {"mode": "ro", "immutable": "1", "uri": "true"}
        )
    # No pool: a connection costs 0.2 ms, and none is ever carried through a fork or left open at exit.
    engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # or sqlite3 itself would begin transactions, and never IMMEDIATE ones
        connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        write = connection.get_execution_options().get("poisonbench_write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def _needs_immutable(location: Location) -> bool:
    """Whether SQLite must be told that nobody writes: in a read-only folder it cannot make the files that WAL needs.

    Records that are still in the write-ahead log would be overlooked, so not while there is one.
    """
    file = location.file
    if file is None or "mode" in location.url.query or not file.is_file():
        return False
    log = Path(f"{file}-wal")
    return not os.access(file.parent, os.W_OK) and not (log.exists() and log.stat().st_size)
