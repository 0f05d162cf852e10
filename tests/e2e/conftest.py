"""The installed command, run as a user runs it: a process of its own, a home of its own, no terminal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(sysconfig.get_path("scripts")) / "poisonbench"

# A shell starts background jobs with SIGINT ignored, and children inherit it; this gives it back.
LAUNCH = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"


SAME = (
    "cell_hash", "status", "seeds", "metrics", "artifacts", "attack_stats", "solver", "poison_check", "defense_detail",
)  # fmt: skip
"""A record's content, timings, memory and its name aside."""


@dataclass(frozen=True)
class Poisonbench:
    """`poisonbench` with POISONBENCH_HOME set to a folder of the test's."""

    home: Path
    plugins: Path | None = None
    environment: dict[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run to the end and check the exit code."""
        process = self.start(*arguments)
        stdout, stderr = process.communicate(timeout=240)
        assert process.returncode == code, f"exit code {process.returncode}\n{stdout}\n{stderr}"
        return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)

    def json(self, *arguments: str, code: int = 0) -> Any:
        """Run and parse standard output, all of it."""
        return json.loads(self(*arguments, code=code).stdout)

    def error(self, *arguments: str, code: int) -> str:
        """Run what must be refused before any work; its one line."""
        done = self(*arguments, code=code)
        assert done.stdout == ""
        lines = done.stderr.splitlines()
        assert len([line for line in lines if line.startswith("Error: ")]) == 1, done.stderr
        assert lines[-1].startswith("Error: "), done.stderr
        return lines[-1]

    def content(self) -> dict[str, dict[str, Any]]:
        """The store's records by cell, each cell once: what must not depend on when and where they ran."""
        records = self.json("results", "show", "--json")
        found = {record["cell_hash"]: {field: record[field] for field in SAME} for record in records}
        assert len(found) == len(records)
        return found

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start and return the process."""
        self.home.mkdir(parents=True, exist_ok=True)
        return subprocess.Popen(
            [sys.executable, "-c", LAUNCH, str(SCRIPT), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.home,
            env=self.variables(),
        )

    def variables(self) -> dict[str, str]:
        """The environment: nobody's colours, one thread, 160 columns."""
        kept = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "TTY_COMPATIBLE")}
        plugins = {"PYTHONPATH": str(self.plugins)} if self.plugins else {}
        ours = {"POISONBENCH_HOME": str(self.home), "OMP_NUM_THREADS": "1", "COLUMNS": "160"}
        return {**kept, **ours, **plugins, **self.environment}


QUICK = ("run", "--attack", "tgda", "--defense", "sever", "--set", "attack.epochs=3")


@pytest.fixture(scope="session")
def poisonbench(tmp_path_factory: pytest.TempPathFactory) -> Poisonbench:
    """The command with one home for the whole session, so that its tests share finished stages."""
    return Poisonbench(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def quick() -> tuple[str, ...]:
    """The default run with fewer epochs of attack."""
    return QUICK


@pytest.fixture(scope="session")
def first(poisonbench: Poisonbench) -> subprocess.CompletedProcess[str]:
    """The default run in the session's home, for the first time, with --json."""
    return poisonbench(*QUICK, "--json")


@pytest.fixture
def fresh(tmp_path: Path) -> Callable[..., Poisonbench]:
    """Makes the command with a new home: `fresh("name")`."""

    def make(name: str = "home", plugins: Path | None = None) -> Poisonbench:
        return Poisonbench(tmp_path / name, plugins)

    return make
