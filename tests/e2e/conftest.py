"""The installed command, run as a user runs it: a process of its own, a home of its own, no terminal.

What a test runs to its end is a fork of one process that has imported everything (warm.py). The console script itself
runs where a start or a signal is the point, where workers are started, and in README's commands.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
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


class Warm:
    """The process of warm.py, started when it is first asked."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def run(
        self,
        arguments: tuple[str, ...],
        folder: Path,
        environment: dict[str, str],
        kill: dict[str, object] | None = None,
    ) -> tuple[int, str, str]:
        """Exit code, standard output and standard error of one command; `kill` is what warm.killed takes."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(Path(__file__).with_name("warm.py"))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**environment, "PYTHONPATH": os.environ.get("PYTHONPATH", "")},  # nobody's plugins
            )
        assert self._process.stdin
        assert self._process.stdout
        with tempfile.NamedTemporaryFile("r") as output, tempfile.NamedTemporaryFile("r") as errors:
            asked = {"arguments": arguments, "folder": str(folder), "environment": environment, "kill": kill}
            print(json.dumps({**asked, "output": output.name, "errors": errors.name}), file=self._process.stdin)
            self._process.stdin.flush()
            try:
                return int(self._process.stdout.readline()), output.read(), errors.read()
            except BaseException:  # a test ran out of time: the next one must not be given this one's answer
                self._process.kill()
                self._process.communicate()
                self._process = None
                raise

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.communicate()


@dataclass(frozen=True)
class Poisonbench:
    """`poisonbench` with POISONBENCH_HOME set to a folder of the test's."""

    home: Path
    warm: Warm
    plugins: Path | None = None
    environment: dict[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run to the end and check the exit code."""
        self.home.mkdir(parents=True, exist_ok=True)
        return _done(arguments, code, *self.warm.run(arguments, self.home, self.variables()))

    def script(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """The same by the console script, from the start of the interpreter to its end."""
        process = self.start(*arguments)
        output, errors = process.communicate(timeout=240)
        return _done(arguments, code, process.returncode, output, errors)

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
        """Start the console script and return its process."""
        self.home.mkdir(parents=True, exist_ok=True)
        return subprocess.Popen(
            [sys.executable, "-c", LAUNCH, str(SCRIPT), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.home,
            env=self.variables(),
        )

    def killed(self, *arguments: str, after: float) -> int:
        """Run and end it, whatever it does, so many seconds later; its exit code."""
        self.home.mkdir(parents=True, exist_ok=True)
        kill: dict[str, object] = {"before": None, "after": after, "counted": ""}
        return self.warm.run(arguments, self.home, self.variables(), kill)[0]

    def variables(self) -> dict[str, str]:
        """The environment: nobody's colours, one thread, 160 columns."""
        kept = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "TTY_COMPATIBLE")}
        plugins = {"PYTHONPATH": str(self.plugins)} if self.plugins else {}
        ours = {"POISONBENCH_HOME": str(self.home), "OMP_NUM_THREADS": "1", "COLUMNS": "160"}
        return {**kept, **ours, **plugins, **self.environment}


def _done(
    arguments: tuple[str, ...], expected: int, code: int, output: str, errors: str
) -> subprocess.CompletedProcess[str]:
    assert code == expected, f"exit code {code}\n{output}\n{errors}"
    return subprocess.CompletedProcess(arguments, code, output, errors)


QUICK = ("run", "--attack", "tgda", "--defense", "sever", "--seeds", "0,1,2", "--set", "attack.epochs=10")


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """One process that forks for all the commands of the session."""
    process = Warm()
    yield process
    process.close()


@pytest.fixture(scope="session")
def poisonbench(tmp_path_factory: pytest.TempPathFactory, warm: Warm) -> Poisonbench:
    """The command with one home for the whole session, so that its tests share finished stages."""
    return Poisonbench(tmp_path_factory.mktemp("home"), warm)


@pytest.fixture(scope="session")
def quick() -> tuple[str, ...]:
    """The default run with fewer seeds, and fewer epochs of attack."""
    return QUICK


@pytest.fixture(scope="session")
def first(poisonbench: Poisonbench) -> subprocess.CompletedProcess[str]:
    """The default run in the session's home, for the first time, with --json."""
    return poisonbench.script(*QUICK, "--json")


@pytest.fixture
def fresh(tmp_path: Path, warm: Warm) -> Callable[..., Poisonbench]:
    """Makes the command with a new home: `fresh("name")`."""

    def make(name: str = "home", plugins: Path | None = None) -> Poisonbench:
        return Poisonbench(tmp_path / name, warm, plugins)

    return make
