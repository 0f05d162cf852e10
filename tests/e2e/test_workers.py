"""Sweeps on Ray's workers: a cluster of two nodes on this machine, a worker and a node that die, parts side by side."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"
)

SWEEP = ("sweep", "--attack", "label-flip,tgda", "--defense", "none,sever", "--seeds", "0,1,2", "--threads", "1")
SETTINGS = ("--set", "attack.tgda.epochs=30", "--set", "recipe.epochs=20")
CELLS = 12


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Two nodes with one CPU each; the first is this machine's and the driver's."""
    monkeypatch.setenv("RAY_worker_niceness", "0")  # at Ray's 15 they would wait for the tests beside this one
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.add_node(num_cpus=1)
    yield made
    made.shutdown()


def workers_at_work(task: str) -> list[psutil.Process]:
    """The processes that run a task right now: _run_cell is a cell, _work are parts of one."""
    running = psutil.process_iter(["cmdline"])
    return [process for process in running if f"ray::{task}" in " ".join(process.info["cmdline"] or [])]


def wait_for_records(command: Any, process: subprocess.Popen[str], at_least: int) -> None:
    """Until the sweep has finished some cells."""
    for _ in range(600):
        if len(command.json("results", "show", "--json")) >= at_least:
            return
        assert process.poll() is None, process.communicate()
    raise AssertionError("the sweep does not get on")


def test_a_killed_worker_and_a_lost_node_change_nothing(fresh: Callable[..., Any], cluster: Any) -> None:
    alone, command = fresh("alone"), fresh("cluster")
    process = command.start(*SWEEP, *SETTINGS, "--ray", cluster.address)
    wait_for_records(command, process, 1)
    victims = workers_at_work("_run_cell")
    assert victims
    victims[0].kill()
    wait_for_records(command, process, 3)
    cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
    stdout, stderr = process.communicate(timeout=240)
    assert process.returncode == 0, stderr
    assert f"{CELLS} cells: {CELLS} ok; {CELLS} were run now." in stdout
    alone(*SWEEP, *SETTINGS)
    assert command.content() == alone.content()


def test_partitions_side_by_side_are_those_in_turn(fresh: Callable[..., Any]) -> None:
    one = ("sweep", "-a", "tgda", "--seeds", "0", "--threads", "1", "--set", "attack.tgda.epochs=60")
    parts = (*one, "--set", "attack.tgda.partitions=3")
    alone, command = fresh("alone"), fresh("jobs")
    process, seen = command.start(*parts, "--jobs", "2"), 0
    while process.poll() is None:
        seen = max(seen, len(workers_at_work("_work")))
        time.sleep(0.05)
    assert process.returncode == 0, process.communicate()
    assert seen == 1  # the cell's own worker plays the other share
    process.communicate()
    alone(*parts)
    assert command.content() == alone.content()


def test_what_cannot_be_retried_is_recorded(fresh: Callable[..., Any]) -> None:
    """A cell that fails by itself is not the worker's fault: it is recorded at once, and the others go on."""
    command = fresh()
    done = command.script(
        "sweep", "-a", "label-flip,tgda", "--seeds", "0", "--jobs", "2", "--threads", "1", "--timeout", "4",
        "--set", "attack.tgda.epochs=10000", code=1,
    )  # fmt: skip
    assert "2 cells: 1 ok, 1 timeout; 2 were run now." in done.stdout
