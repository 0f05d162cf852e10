"""Where a store lies: the database's URL and the home folder of what lies beside it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_data_path
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from poisonbench.errors import ConfigError, UsageError

DATABASE_SUFFIXES = (".db", ".sqlite", ".sqlite3")
HOME_FOLDERS = ("artifacts", "checkpoints", "locks")
"""What lies in a store's home beside its database."""

_WHERE = ("host", "hostaddr", "port", "user", "dbname", "service")
"""What of a URL's query says where a database is."""


@dataclass(frozen=True)
class Location:
    """A store's place.

    Attributes:
        url: of the database.
        home: folder of checkpoints/ and locks/, and of artifacts/ if the database is a file.
        file: the database's file, or None if it is on a server.
    """

    url: URL
    home: Path
    file: Path | None

    @property
    def name(self) -> str:
        """What opens it again, password included."""
        return str(self.file) if self.file else self.url.render_as_string(hide_password=False)

    @property
    def folders(self) -> tuple[str, ...]:
        """What of HOME_FOLDERS it has: a server keeps the artifacts itself."""
        return HOME_FOLDERS if self.file else tuple(name for name in HOME_FOLDERS if name != "artifacts")

    def __str__(self) -> str:
        """Without what may be secret: the query has a password too, for whoever puts it there."""
        if self.file:
            return str(self.file)
        hidden = [name for name in self.url.query if name not in _WHERE]
        return self.url.difference_update_query(hidden).render_as_string(hide_password=True)


def verification(location: Location) -> Path:
    """The folder of the store for `verify`: beside the user's, into which nothing of a submission goes."""
    return location.home / "verification"


def default_home() -> Path:
    """$POISONBENCH_HOME, or the platform's folder for a user's data."""
    chosen = os.environ.get("POISONBENCH_HOME")
    return Path(chosen).expanduser().absolute() if chosen else user_data_path("poisonbench")


def locate(store: str | os.PathLike[str] | None) -> Location:
    """Read `--store`: a database URL, a `.db` file, a folder, or None for the default. Links are followed: a store that
    is reached by several of them has one home.

    Raises:
        UsageError: for a URL that is none, or of a database that is not supported, and for what cannot be a path.
    """
    if store is None:
        return _sqlite_file(default_home() / "store.db")
    store = os.fspath(store)
    if store == "":  # such as of a variable that is not set
        raise ConfigError("--store '': expected a folder, a .db file or a URL.")
    if "://" not in store:
        try:
            path = _real(Path(store))
            is_file = path.is_file() or (path.suffix in DATABASE_SUFFIXES and not path.is_dir())
        except (OSError, RuntimeError, ValueError) as error:  # too long, a home that nobody has, a zero byte
            reason = str(getattr(error, "strerror", None) or error).rstrip(".")
            raise ConfigError(f"--store {store[:80]}: {reason}.") from None
        return _sqlite_file(path if is_file else path / "store.db")
    try:
        url = make_url(store)
    except (ArgumentError, ValueError):
        raise UsageError(
            "--store is not a database URL; use sqlite:///FILE or postgresql+psycopg://HOST/NAME."
        ) from None
    backend = url.get_backend_name()
    if backend == "sqlite":
        return _sqlite_url(url)
    if backend in ("postgresql", "postgres"):
        if "@" in (url.host or ""):  # the rest of the password, which would be printed
            raise UsageError("--store: write an @ in the URL's password as %40.")
        return Location(url.set(drivername="postgresql+psycopg"), default_home(), None)
    raise UsageError(f"--store: {backend!r} is not supported; use sqlite:///FILE or postgresql+psycopg://HOST/NAME.")


def refuse_missing(store: str | os.PathLike[str] | None) -> None:
    """Refuse a store that is named and not there, for whoever only reads: to open it would make one. The default may be
    missing, as before the first run; a folder without records is an empty store, and a server tells for itself.

    Raises:
        UsageError: if there is none, or as `locate`.
    """
    file = None if store is None else locate(store).file
    if file is not None and not file.exists() and not Path(store or "").expanduser().is_dir():
        raise ConfigError(f"--store {os.fspath(store or '')}: there is no store; {file} does not exist.")


def _real(path: Path) -> Path:
    """The path without links, whether there is anything or not; a circle of links stays as it is."""
    return Path(os.path.realpath(path.expanduser()))


def _sqlite_file(path: Path) -> Location:
    path = _real(path)
    return Location(URL.create("sqlite", database=str(path)), path.parent, path)


def _sqlite_url(url: URL) -> Location:
    database = url.database or ""
    # sqlite:///file:/a/store.db?mode=ro&uri=true is how SQLAlchemy spells SQLite's own URIs.
    path = _real(Path(database.removeprefix("file:")))
    if not database or ":memory:" in database:
        raise UsageError("--store: a store in memory keeps nothing; use sqlite:///FILE.")
    if database.startswith("file:"):
        return Location(url.set(database=f"file:{path}"), path.parent, path)
    return Location(url.set(drivername="sqlite", database=str(path)), path.parent, path)
