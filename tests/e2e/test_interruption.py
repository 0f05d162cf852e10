"""Killed, interrupted, out of time, two at once: nothing is lost and nothing changes."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from safetensors import safe_open

# About 2 s of attack on one thread.
LONG = ("run", "-a", "tgda", "--seeds", "0", "--set", "attack.epochs=400")
SOONER = "from poisonbench.stages import stage\nstage.SAVE_EVERY_S = 0.7\n"


@pytest.fixture
def sooner(tmp_path: Path) -> Path:
    """What Python imports at its start: the first checkpoint comes in the middle of a short attack."""
    folder = tmp_path / "sooner"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(SOONER, "utf-8")
    return folder


def test_killed_in_the_attack_and_run_again_gives_the_same_bits(fresh: Callable[..., Any], sooner: Path) -> None:
    whole, command = fresh("whole"), fresh("killed", plugins=sooner)
    process = command.start(*LONG, "--json")
    saved = wait_for_checkpoint(command.home, process)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert command.json("results", "show", "--json") == []

    with safe_open(saved, framework="pt") as file:
        step = int(file.metadata()["step"])
    assert step > 0
    for limit in ("0.6", "1.2", "2.4"):  # a busy machine may not come to the attack
        done = command(*LONG, "--timeout", limit, "--json", code=5)
        if passed := re.search(r"tgda passed its deadline after step (\d+) of 800", done.stderr):
            break
    assert passed, done.stderr
    assert int(passed[1]) > step  # it went on from the checkpoint; so soon from the start comes nowhere near
    assert {record["status"] for record in command.json("results", "show", "--json")} == {"timeout"}

    (resumed,), (expected,) = command.json(*LONG, "--json"), whole.json(*LONG, "--json")
    for field in ("metrics", "artifacts", "attack_stats", "solver", "poison_check", "cell_hash", "attack", "seeds"):
        assert resumed[field] == expected[field], field
    assert not any((command.home / "checkpoints").iterdir())
    report = command.json("doctor", "--json")["store"]
    assert report["missing_artifacts"] == report["damaged"] == []


def wait_for_checkpoint(home: Path, process: subprocess.Popen[str]) -> Path:
    """The attack's first checkpoint, as soon as it is there."""
    for _ in range(2400):
        found = list((home / "checkpoints").glob("*/tgda.safetensors"))
        if found:
            return found[0]
        assert process.poll() is None, f"the attack was over before its first checkpoint: {process.communicate()}"
        time.sleep(0.05)
    process.kill()
    raise AssertionError("no checkpoint after two minutes")


def test_a_timeout_is_recorded_and_exits_with_5(fresh: Callable[..., Any]) -> None:
    command = fresh()
    done = command(*LONG, "--timeout", "0.3", code=5)
    assert "passed its deadline" in done.stderr
    assert "larger --timeout" in done.stderr
    (record,) = command.json("results", "show", "--json")
    assert (record["status"], record["metrics"]) == ("timeout", None)
    assert record["timing"]["total_s"] < 30


def test_ctrl_c_exits_with_130(fresh: Callable[..., Any]) -> None:
    command = fresh()
    process = command.start(*LONG, "--json")
    wait_for(command.home / "locks", process)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert stdout == ""
    assert stderr.splitlines()[-1] == "Interrupted. Run the same command again to go on from there."
    assert "Traceback" not in stderr


@pytest.mark.parametrize("command", [("run",), ("sweep", "--jobs", "2")], ids=" ".join)
def test_two_ctrl_c_exit_with_130(fresh: Callable[..., Any], tmp_path: Path, command: tuple[str, ...]) -> None:
    """At a terminal every process of the command hears each of them; the second comes when all is cleaned up but the
    interpreter itself."""
    late = tmp_path / "late"
    late.mkdir()
    (late / "sitecustomize.py").write_text("import atexit, time\natexit.register(time.sleep, 5)\n", "utf-8")
    process = fresh(plugins=late).start(*command, "-a", "tgda", "--seeds", "0,1", "--set", "attack.epochs=4000")
    wait_for(tmp_path / "home" / "locks", process)
    everybody = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for _ in range(2):
        for one in everybody:
            with suppress(psutil.NoSuchProcess):
                one.send_signal(signal.SIGINT)
        time.sleep(0.5)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert stderr.splitlines()[-1] == "Interrupted. Run the same command again to go on from there."
    assert stderr.count("Interrupted.") == 1
    assert "Traceback" not in stderr


def test_ctrl_c_amid_the_imports_is_a_line_too() -> None:
    code = """
import sys

class Finder:
    def find_spec(self, name, *rest):
        if name == "poisonbench.cli.sweep":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Finder())
from poisonbench.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "Interrupted.\n")


def wait_for(folder: Path, process: subprocess.Popen[str]) -> None:
    """Until a stage has begun: its lock is beside the one that made the store."""
    for _ in range(1200):
        if folder.is_dir() and sum(1 for _ in folder.iterdir()) > 1:
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.kill()
    raise AssertionError("no stage after a minute")


def test_two_runs_at_once_share_one_store(fresh: Callable[..., Any]) -> None:
    """Both make the store, want the same attack and write: every record arrives, no stage is computed twice."""
    command = fresh()
    runs = [command.start("run", "-a", "label-flip", "-d", defense, "--seeds", "0,1,2") for defense in ("none", "loss")]
    panels = [process.communicate(timeout=120) for process in runs]
    assert [process.returncode for process in runs] == [0, 0], panels

    found = command.json("results", "show", "--json")
    cells = sorted((record["defense"]["name"], record["seeds"]["run"], record["status"]) for record in found)
    assert cells == [(defense, seed, "ok") for defense in ("loss", "none") for seed in (0, 1, 2)]
    # A seed needs five trainings (clean, poisoned and padded, the last two filtered too) and one poison set.
    assert sum(int(n) for panel, _ in panels for n in re.findall(r"Computed:[^.]*?(\d+) training run", panel)) == 15
    assert sum(int(n) for panel, _ in panels for n in re.findall(r"Computed:[^.]*?(\d+) poison set", panel)) == 3
    report = command.json("doctor", "--json")
    store, ours = report["store"], [path for path in report["leftovers"] if path.startswith(str(command.home))]
    assert (store["integrity"], store["missing_artifacts"], ours) == ("ok", [], [])
