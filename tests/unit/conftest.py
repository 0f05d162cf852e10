"""Planted records for tests of what is drawn of them, protocols for tests of the newest, a server of PostgreSQL."""

from __future__ import annotations

import base64
import json
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
import typer
import typer.testing
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from poisonbench.cli import cells as command_cells
from poisonbench.cli.main import app
from poisonbench.experiment import protocol
from poisonbench.experiment.cell import Cell
from poisonbench.identity import versions
from poisonbench.leaderboard import experiments
from poisonbench.plugins import fresh
from poisonbench.process.fork_server import worker_context
from poisonbench.store import trusted_keys
from poisonbench.store.database import Store
from poisonbench.store.done import NEEDED
from poisonbench.store.record import Record
from poisonbench.store.record_origin import Artifact, Submitted
from poisonbench.store.record_results import Answers, Metrics
from poisonbench.store.signatures import public_key

IMAGES = 1000
"""In the test set of planted records."""

FIXTURE = Path(__file__).with_name("test_store_record_v5.json")


def _planted(
    attack: str = "tgda",
    drop: float | None = 1.0,
    seed: int = 0,
    defense: str = "none",
    epsilon: float = 0.03,
    params: dict[str, Any] | None = None,
    **changes: Any,
) -> Record:
    """acc1 = 90; a drop of None is a failure. Params are the attack's. A drop in whole images has answers."""
    fixture = json.loads(FIXTURE.read_text("utf-8"))
    fixture.pop("record_id")
    bad = {"status": "failed", "error": "boom", "metrics": None}
    facts = {
        "attack": {**fixture["attack"], "name": attack, "version": _newest(attack), "params": params or {}},
        "attack_stats": {},
        "defense": {**fixture["defense"], "name": defense, "params": {}},
        "seeds": {**fixture["seeds"], "run": seed},
        "threat": {**fixture["threat"], "epsilon": epsilon},
        "protocol": {**fixture["protocol"], "locked": True, "deviations": []},
        "surrogate": None,
        "defense_detail": None,
    }
    good = bad if drop is None else {"metrics": _metrics(drop)}
    return Record.create(**{**fixture, **facts, **good, **changes})


def _newest(attack: str) -> str:
    """The version that ships, so that a planted record is one of now."""
    return str(versions.current("attack", attack) or 1)


def _metrics(drop: float) -> Metrics:
    """The first images are right, and of all attacks the same ones are lost first."""
    right = [round(IMAGES * accuracy / 100) for accuracy in (90.0, 90.0 - drop)]
    if abs(100 * right[1] / IMAGES - (90.0 - drop)) > 1e-9:
        return Metrics.of(90.0, 90.0 - drop)
    bits = [base64.b64encode(np.packbits(np.arange(IMAGES) < count).tobytes()).decode("ascii") for count in right]
    return Metrics.of(90.0, 90.0 - drop, answers=Answers(clean=bits[0], attacked=bits[1]))


@pytest.fixture(scope="session", autouse=True)
def _commands_built_once() -> Iterator[None]:
    """Typer makes all commands anew of their signatures for each call, in 60 ms; they are the same each time, but for
    what `_plain_help` changes."""
    build = typer.main.get_command
    built: dict[tuple[int, object], tuple[typer.Typer, Any]] = {}

    def once(part: typer.Typer) -> Any:
        key = id(part), part.rich_markup_mode
        if key not in built:
            built[key] = part, build(part)
        return built[key][1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.main, "get_command", once)
        patch.setattr(typer.testing, "_get_command", once)
        yield


@pytest.fixture(scope="module", autouse=True)
def _planted_rules() -> Iterator[None]:
    """The rules of planted records have a hash that no protocol has: here it passes for that of any."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiments, "shipped_hash", lambda name: None)
        yield


@pytest.fixture(autouse=True)
def _no_plugin_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test begins as a process does: plugins of the tests before it send no cell to a process of its own."""
    monkeypatch.setattr(fresh, "_ran", set())


@pytest.fixture(scope="session")
def planted() -> Callable[..., Record]:
    """Makes a ranked record: `planted("tgda", drop=3.0, seed=1)`; further fields by name take the place of its own."""
    return _planted


@pytest.fixture(scope="session")
def seeds() -> Callable[..., list[Record]]:
    """Makes one of each seed: `seeds("tgda", [3.0, 4.0])`."""
    return lambda attack, drops, **options: [_planted(attack, drop, seed, **options) for seed, drop in enumerate(drops)]


class Verifier:
    """Signs planted records, with a key that is trusted while a test runs."""

    def __init__(self) -> None:
        self.key = Ed25519PrivateKey.from_private_bytes(b"\1" * 32)

    def __call__(self, record: Record, drop: float = 9.0, key: Ed25519PrivateKey | None = None) -> Record:
        """The record, as measured and signed by the verifier or the holder of another key, of a submitted drop."""
        said = Submitted(record_id="0" * 16, metrics=Metrics.of(90.0, 90.0 - drop), environment=record.environment)
        return record.signed(key or self.key, said)


@pytest.fixture(scope="module")
def verify() -> Iterator[Verifier]:
    """Signs records as Ada, whose key is trusted."""
    verifier = Verifier()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trusted_keys, "trusted_names", lambda: {public_key(verifier.key): "Ada"})
        yield verifier


@pytest.fixture(scope="session")
def evidence() -> Callable[[Store], list[Artifact]]:
    """Puts into a store what a record must name in order to count as done: `make(artifacts=evidence(store))`."""

    def put(store: Store) -> list[Artifact]:
        return [store.artifacts.put({"x": torch.full((1,), float(n))}, kind) for n, kind in enumerate(NEEDED)]

    return put


@pytest.fixture(scope="session")
def elsewhere() -> Callable[..., int | None]:
    """Runs code in a process of its own, in which nothing else ran, and says how that ended: `elsewhere(code, *argv)`
    is its exit code. It is forked from one that has imported torch: a new interpreter takes seconds to."""

    def run(code: str, *argv: object) -> int | None:
        surroundings = f"import os, sys\nsys.argv[1:] = {[str(word) for word in argv]!r}\n"
        surroundings += f"os.environ.clear()\nos.environ.update({dict(os.environ)!r})\n"
        process: Any = worker_context().Process(target=exec, args=(surroundings + code, {"__name__": "elsewhere"}))
        process.start()
        process.join(120)
        exitcode: int | None = process.exitcode
        process.kill()
        return exitcode

    return run


@pytest.fixture
def new_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Adds a protocol to those that ship, for a test: `new_protocol("digits", 2)` is digits-v1 but for its name."""
    folder = tmp_path / "protocols"
    with as_file(files("poisonbench.protocols")) as shipped:
        shutil.copytree(shipped, folder)
    monkeypatch.setattr(protocol, "files", lambda package: folder)

    def forget() -> None:
        protocol.names.cache_clear()
        protocol.load.cache_clear()

    def add(family: str, version: int, base: str = "digits-v1") -> None:
        document = yaml.safe_load((folder / f"{base}.yaml").read_text("utf-8"))
        named = {**document, "name": f"{family}-v{version}", "version": version}
        (folder / f"{family}-v{version}.yaml").write_text(yaml.safe_dump(named), "utf-8")
        forget()

    yield add
    forget()


@pytest.fixture(scope="session")
def commands() -> set[str]:
    """Every command, such as "plot heatmap"."""
    return set(_commands(app))


def _commands(part: typer.Typer, path: str = "") -> Iterator[str]:
    for command in part.registered_commands:
        assert command.callback
        yield f"{path} {command.name or command.callback.__name__}".strip()
    for group in part.registered_groups:
        assert group.typer_instance
        yield from _commands(group.typer_instance, f"{path} {group.name}".strip())


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Cell]]:
    """The cells that a command would run, which it then does not: `asked("run", "--attack", "tgda")`."""
    found: list[list[Cell]] = []

    def cells_of(*arguments: Any) -> NoReturn:
        found.append(reading(*arguments))
        raise typer.Exit

    def ask(*words: str) -> list[Cell]:
        found.clear()
        app(list(words), standalone_mode=False)
        (cells,) = found
        return cells

    reading = command_cells.cells_of
    monkeypatch.setattr(command_cells, "cells_of", cells_of)
    return ask


@dataclass(frozen=True)
class Server:
    """A server that listens on a socket in its folder.

    Attributes:
        programs: the folder of initdb and pg_ctl.
        folder: its own.
        user: whom it runs as; it refuses root.
    """

    programs: Path
    folder: Path
    user: str

    def make(self) -> None:
        """Lay out its data."""
        self._run("initdb", "--auth=trust", "--username=me", "--encoding=UTF8", "--locale=C", "--no-sync")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"-c listen_addresses= -c unix_socket_directories={self.folder} -c fsync=off -c max_connections=30"
        self._run("pg_ctl", "start", "-w", f"--log={self.folder}/log", f"--options={options}")

    def stop(self) -> None:
        """Stop it at once; what was committed stays."""
        self._run("pg_ctl", "stop", "-w", "-m", "immediate")

    def restart(self, mode: str) -> None:
        """Stop it, "immediate" or "fast", and start it at once; options are those it was started with."""
        self._run("pg_ctl", "restart", "-w", f"--log={self.folder}/log", "-m", mode)

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of an empty database, which is gone at the end."""
        name = f"db{time.monotonic_ns()}"
        self.query(f"CREATE DATABASE {name}")
        yield f"postgresql+psycopg://me@/{name}?host={self.folder}"
        self.query(f"DROP DATABASE {name} WITH (FORCE)")

    def query(self, text: str) -> list[tuple[Any, ...]]:
        """Ask the server itself."""
        import psycopg

        with psycopg.connect(host=str(self.folder), user="me", dbname="postgres", autocommit=True) as connection:
            answer = connection.execute(text)
            return list(answer) if answer.description else []

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self.programs / program), f"--pgdata={self.folder}/data", *arguments]
        user = self.user if os.getuid() == 0 else None
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self.folder, user=user)


def programs() -> Path | None:
    """The folder of the server's programs: Debian has none of them on the path."""
    found = shutil.which("pg_ctl")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    return Path(found).parent if found else debian[-1].parent if debian else None


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A real server of PostgreSQL, in a folder of its own; or a skip that says what is missing.

    Needs Debian's package postgresql, or initdb and pg_ctl on the path. With $CI_REQUIRE_POSTGRESQL set their absence
    is a failure.
    """
    pytest.importorskip("psycopg")
    folder = programs()
    if folder is None:
        if os.environ.get("CI_REQUIRE_POSTGRESQL"):
            pytest.fail("no PostgreSQL server")
        pytest.skip("no PostgreSQL server; install Debian's postgresql")
    users = {entry.pw_name for entry in pwd.getpwall()}
    user = "postgres" if "postgres" in users else "nobody"
    with tempfile.TemporaryDirectory(prefix="pb", dir="/tmp") as place:  # a socket's path is short
        if os.getuid() == 0:
            shutil.chown(place, user)
        found = Server(folder, Path(place), user)
        found.make()
        found.start()
        yield found
        found.stop()
