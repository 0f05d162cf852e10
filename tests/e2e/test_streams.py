"""Standard output that is full, closed or not read: a line or silence, and no traceback."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FULL = Path("/dev/full")
SCRIPT = "import sys; from poisonbench.cli.main import main; sys.argv[0] = 'poisonbench'; main()"

pytestmark = pytest.mark.skipif(not FULL.exists(), reason="Linux has a device that is always full")


def shell(command: str, words: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command as a shell does; `command` says what becomes of its standard output."""
    line = command.format(f'{sys.executable} -P -c "{SCRIPT}" {words}')
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, env=environment, timeout=120)


@pytest.mark.parametrize(
    ("command", "words", "reason"),
    [
        ("{} >/dev/full", "list --json", "No space left"),
        ("{} >/dev/full", "--version", "No space left"),
        ("{} >&-", "--version", "Bad file descriptor"),
    ],
)
def test_output_that_cannot_be_written_ends_in_a_line(
    fresh: Callable[..., Any], command: str, words: str, reason: str
) -> None:
    done = shell(command, words, fresh().variables())
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"Error: Standard output cannot be written: {reason}")
    assert done.returncode == 1


def test_who_has_read_enough_hears_nothing(fresh: Callable[..., Any]) -> None:
    done = shell("set -o pipefail; {} | true", "list --json", fresh().variables())
    assert (done.returncode, done.stderr) == (1, "")


def test_a_run_whose_output_and_log_are_full_is_in_the_store(fresh: Callable[..., Any]) -> None:
    command = fresh()
    done = shell("{} >/dev/full 2>/dev/full", "run -a label-flip --seeds 0 --json", command.variables())
    assert done.returncode == 1
    assert [record["status"] for record in command.json("results", "show", "--json")] == ["ok"]


def test_a_closed_output_is_not_the_next_file(fresh: Callable[..., Any]) -> None:
    """Descriptor 1 would be the store's database."""
    command = fresh()
    shell("{} >&- 2>&-", "run -a label-flip --seeds 0", command.variables())
    assert len(command.json("results", "show", "--json")) == 1
