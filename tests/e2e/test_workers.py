"""Sweeps on workers: processes of this machine and a Ray cluster of two nodes, workers and nodes that die."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

SWEEP = ("sweep", "--attack", "label-flip,tgda", "--defense", "none,sever", "--seeds", "0,1", "--threads", "1")
SETTINGS = ("--set", "attack.tgda.epochs=30", "--set", "recipe.epochs=20", "--set", "attack.tgda.partitions=2")
CELLS = 8
TOKEN = secrets.token_hex(32)
"""Of all clusters here: a process reads it once."""
SUICIDE = """
import os, signal
from dataclasses import dataclass
import poisonbench as pb

@pb.register("dies")
@dataclass(frozen=True)
class Dies(pb.Attack):
    cost = "a process"
    threat = pb.ThreatModel()

    def craft(self, view, budget, stage):
        os.kill(os.getpid(), signal.SIGKILL)
"""

TRACKER = """
import json, os
from types import SimpleNamespace

def Settings(**settings):
    return settings

def setup():
    return SimpleNamespace(settings=SimpleNamespace(mode="offline"))

def init(id, **about):
    def finish(exit_code):
        with open(os.environ["TOLD"], "a") as file:
            print(json.dumps([id, exit_code, os.getppid()]), file=file)

    return SimpleNamespace(log=lambda values, step: None, summary={}, finish=finish)
"""
"""As much of Weights & Biases as is used, which writes down what it is told, and whose child it is."""


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, poisonbench: Any) -> dict[str, Any]:
    """What the sweep gives in one process."""
    command = type(poisonbench)(tmp_path_factory.mktemp("alone"), poisonbench.warm)
    command(*SWEEP, *SETTINGS)
    return command.content()


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Two nodes with one CPU each, which ask for a token; the first is this machine's and the driver's."""
    monkeypatch.setenv("RAY_worker_niceness", "0")  # at Ray's 15 they would wait for the tests beside this one
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.add_node(num_cpus=1)
    yield made
    made.shutdown()


def ray_workers(cluster: Any, task: str) -> list[psutil.Process]:
    """This cluster's processes that run a task right now: _run_cell is a cell, _work are parts of one."""
    raylets = {node.all_processes["raylet"][0].process.pid for node in cluster.list_all_nodes()}
    running = psutil.process_iter(["cmdline", "ppid"])
    mine = [process for process in running if process.info["ppid"] in raylets]
    return [process for process in mine if f"ray::{task}" in " ".join(process.info["cmdline"] or [])]


def workers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The worker processes of a sweep: what its fork server has started."""
    try:
        return [worker for one in psutil.Process(process.pid).children() for worker in one.children()]
    except psutil.NoSuchProcess:  # a helper of Python's that has just ended
        return []


def wait_for_records(command: Any, process: subprocess.Popen[str], at_least: int) -> None:
    """Until the sweep has finished some cells."""
    for _ in range(600):
        if len(command.json("results", "show", "--json")) >= at_least:
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.2)
    raise AssertionError("the sweep does not get on")


def finished(process: subprocess.Popen[str], code: int = 0) -> tuple[str, str]:
    """Its output and its errors."""
    stdout, stderr = process.communicate(timeout=240)
    assert process.returncode == code, stderr
    return stdout, stderr


def test_a_killed_process_changes_nothing(fresh: Callable[..., Any], alone: dict[str, Any]) -> None:
    command = fresh()
    process = command.start(*SWEEP, *SETTINGS, "--jobs", "2")
    wait_for_records(command, process, 1)
    while not (victims := workers(process)):
        time.sleep(0.05)
    victims[0].kill()
    stdout, stderr = finished(process)
    assert f"{CELLS} cells: {CELLS} ok; {CELLS} were run now." in stdout
    lines = [line for line in stderr.splitlines() if line.startswith(tuple("12345678"))]
    assert [line.split()[0] for line in lines] == [f"{done}/{CELLS}" for done in range(1, CELLS + 1)]
    assert command.content() == alone


def test_workers_end_with_the_command(fresh: Callable[..., Any]) -> None:
    command = fresh()
    process = command.start("sweep", "-a", "tgda", "--seeds", "0,1", "--jobs", "2", "--set", "attack.epochs=10000")
    deadline = time.monotonic() + 60
    while len(found := workers(process)) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.communicate()
    assert len(found) == 2
    _, alive = psutil.wait_procs(found, timeout=20)
    assert alive == []


def test_what_cannot_be_retried_is_recorded(fresh: Callable[..., Any], tmp_path: Path) -> None:
    """A cell that fails by itself is not the worker's fault; one that ends its worker each time is given up. Both are
    recorded, and the others go on. Each is tracked once, whatever became of it, by the process that hands cells out."""
    told = tmp_path / "told"
    (tmp_path / "wandb.py").write_text(TRACKER, encoding="utf-8")
    command = replace(fresh(), environment={"PYTHONPATH": str(tmp_path), "TOLD": str(told)})
    plugin = tmp_path / "dies.py"
    plugin.write_text(SUICIDE, encoding="utf-8")
    done = command.script(
        "sweep", "-a", "label-flip,tgda,dies", "--seeds", "0", "--jobs", "2", "--threads", "1", "--timeout", "5",
        "--set", "attack.tgda.epochs=10000", "--plugin", str(plugin), "--debug", "--track", "wandb", code=1,
    )  # fmt: skip
    assert "3 cells: 1 ok, 1 failed, 1 timeout; 3 were run now." in done.stdout
    assert "its process died 4 times (killed by signal 9)." in done.stderr
    assert "passed its deadline after step" in done.stderr
    assert 'stage.py", line' in done.stderr  # the traceback of another process
    tracked = [json.loads(line) for line in told.read_text("utf-8").splitlines()]
    records = command.json("results", "show", "--json")
    assert sorted((name, code == 0) for name, code, _ in tracked) == sorted(
        (record["record_id"], record["status"] == "ok") for record in records
    )
    assert {parent for *_, parent in tracked} == {os.getpid()}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
def test_on_a_cluster_a_killed_worker_and_a_lost_node_change_nothing(
    fresh: Callable[..., Any], alone: dict[str, Any], cluster: Any
) -> None:
    """Parts of an attack are played side by side where workers are free."""
    command, parts = fresh(), 0
    for token in (secrets.token_hex(32), ""):
        stranger = replace(command, environment={"RAY_AUTH_TOKEN": token})
        refused = stranger(*SWEEP, "--ray", cluster.address, code=2)
        (line,) = [line for line in refused.stderr.splitlines() if not line.startswith("digits: ")]
        assert line.startswith(f"Error: --ray {cluster.address}: cannot join that cluster: it asks for a token, ")
    process = command.start(*SWEEP, *SETTINGS, "--ray", cluster.address)
    wait_for_records(command, process, 1)
    victims = ray_workers(cluster, "_run_cell")
    assert victims
    victims[0].kill()
    wait_for_records(command, process, 3)
    cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
    stdout, _ = finished(process)
    assert f"{CELLS} cells: {CELLS} ok; {CELLS} were run now." in stdout
    assert command.content() == alone
    cluster.add_node(num_cpus=1)
    three = (
        "sweep",
        "-a",
        "tgda",
        "--seeds",
        "0",
        "--threads",
        "1",
        "--set",
        "attack.epochs=1500",
        "--set",
        "attack.partitions=3",
    )
    one, command = fresh("one"), fresh("parts")
    process = command.start(*three, "--ray", cluster.address)
    while process.poll() is None:
        parts = max(parts, len(ray_workers(cluster, "_work")))
        time.sleep(0.05)
    finished(process)
    assert parts == 1  # the cell's own worker plays the other share
    one(*three)
    assert command.content() == one.content()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("dies", ["gcs_server", "raylet", "StoreServer"])
def test_a_cluster_that_is_lost_ends_in_one_line_and_loses_nothing(
    fresh: Callable[..., Any], alone: dict[str, Any], cluster: Any, dies: str
) -> None:
    command = fresh()
    process = command.start(*SWEEP, *SETTINGS, "--ray", cluster.address)
    wait_for_records(command, process, 1)
    kept, began = command.content(), time.monotonic()
    if dies == "StoreServer":
        ray_workers(cluster, dies)[0].kill()
    else:
        cluster.head_node.all_processes[dies][0].process.kill()
    stdout, stderr = finished(process, code=1)
    assert time.monotonic() - began < 60
    assert stdout == ""
    (line,) = [line for line in stderr.splitlines() if line.startswith("Error: ")]
    assert stderr.splitlines()[-1] == line
    assert line.startswith("Error: The cluster is lost: ")
    assert "Traceback" not in stderr
    assert kept.items() <= command.content().items()
    again = command(*SWEEP, *SETTINGS, *(("--ray", cluster.address) if dies == "StoreServer" else ()))
    assert f"{CELLS} cells: {CELLS} ok; {CELLS} were run now." not in again.stdout
    assert command.content() == alone


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
def test_two_ctrl_c_on_a_cluster_exit_with_130(fresh: Callable[..., Any], cluster: Any) -> None:
    command = fresh()
    process = command.start(*SWEEP, *SETTINGS, "--ray", cluster.address)
    wait_for_records(command, process, 1)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
    stdout, stderr = finished(process, code=130)
    assert stdout == ""
    assert stderr.splitlines()[-1] == "Interrupted. Run the same command again to go on from there."
    assert "Traceback" not in stderr
    _, alive = psutil.wait_procs(ray_workers(cluster, "_run_cell"), timeout=30)
    assert alive == []
