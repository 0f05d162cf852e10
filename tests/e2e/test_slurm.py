"""Sweeps as array jobs of Slurm, on a stand-in that runs their tasks as processes."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

SWEEP = ("sweep", "--attack", "label-flip", "--defense", "none,loss", "--seeds", "0,1", "--set", "recipe.epochs=5")
ARRAY = ("--slurm", "tasks=2", "--slurm=at-once=1", "--slurm", "time=0:10:00", "--slurm", "cpus-per-task=1")
CELLS = 4


@pytest.fixture
def slurm(tmp_path: Path) -> Path:
    """A folder on whose bin/ sbatch and squeue are."""
    folder, program = tmp_path / "slurm", Path(__file__).with_name("fake_slurm.py")
    (folder / "bin").mkdir(parents=True)
    for name in ("sbatch", "squeue"):
        file = folder / "bin" / name
        file.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{program}" {name} "$@"\n', "utf-8")
        file.chmod(0o755)
    return folder


def with_slurm(command: Any, slurm: Path) -> Any:
    """The command where Slurm is."""
    there = {"PATH": f"{slurm / 'bin'}{os.pathsep}{os.environ['PATH']}", "FAKE_SLURM": str(slurm)}
    return replace(command, environment=there)


def asked(slurm: Path) -> list[dict[str, str]]:
    """The options of each job."""
    return [json.loads(line) for line in (slurm / "asked").read_text("utf-8").splitlines()]


def errors(text: str) -> list[str]:
    """Lines of errors."""
    return [line for line in text.splitlines() if line.startswith("Error: ")]


@pytest.mark.slow
def test_an_array_computes_what_a_sweep_does_and_a_rerun_what_is_missing(
    fresh: Callable[..., Any], slurm: Path
) -> None:
    alone, command = fresh("alone"), with_slurm(fresh(), slurm)
    alone(*SWEEP)
    (slurm / "loses").write_text("2", "utf-8")
    lost = command(*SWEEP, *ARRAY, code=1)
    (line,) = errors(lost.stderr)
    assert line.startswith("Error: 2 cells without a record, though Slurm's tasks are over")
    assert "Slurm's job 77: 4 cells in 2 tasks." in lost.stderr
    assert len(command.content()) == CELLS // 2

    (slurm / "loses").unlink()
    again = command(*SWEEP, *ARRAY)
    assert f"{CELLS} cells: {CELLS} ok; {CELLS // 2} were run now." in again.stdout
    assert "2/2 digits-v2" in again.stderr
    done = command(*SWEEP, *ARRAY)
    assert f"{CELLS} cells: {CELLS} ok; 0 were run now." in done.stdout
    assert command.content() == alone.content()

    first, second = asked(slurm)
    assert (first["array"], second["array"]) == ("1,2%1", "2%1")
    assert (first["time"], first["cpus-per-task"]) == ("0:10:00", "1")
    assert first["job-name"] == second["job-name"]
    assert "Traceback" not in "".join(log.read_text("utf-8") for log in (command.home / "slurm").iterdir())


@pytest.mark.slow
def test_a_detached_array_is_found_again(fresh: Callable[..., Any], slurm: Path) -> None:
    command = with_slurm(fresh(), slurm)
    left = command(*SWEEP, *ARRAY, "--detach")
    assert left.stdout == ""
    assert "Slurm's job 77" in left.stderr
    assert "Slurm has job 77 of this sweep already." in command(*SWEEP, *ARRAY, "--detach").stderr
    began = time.monotonic()
    joined = command.json(*SWEEP, *ARRAY, "--json")
    assert time.monotonic() - began < 200
    assert (joined["ok"], len(asked(slurm))) == (CELLS, 1)


@pytest.mark.slow
def test_failed_cells_of_an_array_fail_the_sweep(fresh: Callable[..., Any], slurm: Path) -> None:
    command = with_slurm(fresh(), slurm)
    words = ("sweep", "-a", "tgda", "--seeds", "0", "--set", "attack.epochs=10000", "--timeout", "2")
    done = command(*words, *ARRAY, code=5)
    assert "1 cell: 1 timeout; 1 was run now." in done.stdout
    assert "passed its deadline" in errors(done.stderr)[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--slurm", "time"), "--slurm 'time': expected key=value"),
        (("--slurm", "Time=1"), "--slurm 'Time=1': expected key=value"),
        (("--slurm", "time=1\n#SBATCH --wrap=x"), "expected key=value"),
        (("--slurm", "time=1", "--slurm", "time=2"), "--slurm time is given twice."),
        (("--slurm", "array=1-9"), "--slurm array: set by poisonbench itself"),
        (("--slurm", "tasks=0"), "--slurm tasks=0: expected a whole number above 0."),
        (("--slurm", "at-once=all"), "--slurm at-once=all: expected a whole number above 0."),
        (("--slurm", "partition=none"), "--slurm: sbatch refuses the job: sbatch: error: invalid partition"),
        (("--slurm", "time=1", "--ray", "auto"), "--slurm and --ray exclude each other"),
        (("--slurm", "time=1", "--share", "1/2"), "--slurm and --share exclude each other"),
        (("--detach",), "--detach says nothing without --slurm."),
        (("--share", "0/2"), "--share '0/2': expected i/n with 1 ≤ i ≤ n, such as 3/8."),
        (("--share", "3/2"), "--share '3/2': expected i/n"),
        (("--share", "half"), "--share 'half': expected i/n"),
    ],
    ids=lambda value: "-".join(value)[:40] if isinstance(value, tuple) else "",
)
def test_what_is_refused(poisonbench: Any, slurm: Path, arguments: tuple[str, ...], message: str) -> None:
    command = with_slurm(poisonbench, slurm)
    assert message in command.error("sweep", "-a", "label-flip", "--seeds", "77", *arguments, code=2)


def test_without_slurm_here_it_is_refused(poisonbench: Any) -> None:
    message = poisonbench.error("sweep", "-a", "label-flip", "--seeds", "77", "--slurm", "time=1", code=2)
    assert "--slurm: there is no squeue here." in message


def test_shares_make_up_the_sweep(fresh: Callable[..., Any]) -> None:
    """Cells that craft the same poison set are in the same share."""
    command = fresh()
    both = [command.json(*SWEEP, "--share", f"{number}/2", "--json") for number in (1, 2)]
    assert [part["run"] for part in both] == [2, 2]
    assert [{record["seeds"]["run"] for record in part["records"]} for part in both] == [{0}, {1}]
    assert command.json(*SWEEP, "--share", "3/3", "--json")["cells"] == 0
