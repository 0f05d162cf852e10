"""Plugins as their authors use them: a generated project, installed; a single file, on Ray's workers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A cluster that somebody else started: its workers do not inherit this process's environment."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    yield made
    made.shutdown()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["attack", "defense"])
def test_a_new_project_installs_and_runs_as_written(kind: str, fresh: Callable[..., Any], tmp_path: Path) -> None:
    target = tmp_path / "site"
    command = fresh(plugins=target)
    command("new", kind, "my-own", "--output", str(tmp_path / "my-own"))
    install = ["pip", "install", "--no-deps", "--no-build-isolation", "--target", str(target), str(tmp_path / "my-own")]
    done = subprocess.run([sys.executable, "-m", *install], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

    (row,) = [row for row in command.json("list", f"{kind}s", "--json")[f"{kind}s"] if row["name"] == "my-own"]
    assert (row["distribution"], row["release"], row["broken"]) == ("my-own", "0.1.0", None)
    (checked,) = command.json("check", "my-own", "--json")
    assert checked["ok"], checked
    chosen = {"attack": ("-a", "my-own"), "defense": ("-a", "label-flip", "-d", "my-own")}[kind]
    (record,) = command.json("run", *chosen, "--seeds", "0", "--json")
    assert (record["status"], record[kind]["name"]) == ("ok", "my-own")
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"],
        capture_output=True, text=True, cwd=tmp_path / "my-own", env=command.variables(),
    )  # fmt: skip
    assert tests.returncode == 0, tests.stdout


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
def test_a_file_is_known_to_workers(fresh: Callable[..., Any], cluster: Any, tmp_path: Path) -> None:
    command = fresh()
    command("new", "attack", "my-own", "--output", str(tmp_path / "my-own"))
    sweep = ("sweep", "-a", "my-own", "--seeds", "0,1", "--threads", "1")
    plugin = ("--plugin", str(tmp_path / "my-own" / "my_own.py"))
    for name, workers in (("joined", ("--ray", cluster.address)), ("started", ("--jobs", "2"))):
        command = fresh(name)
        command.script(*sweep, *plugin, *workers)
        records = command.json("results", "show", "--json")
        assert [record["status"] for record in records] == ["ok", "ok"]
        assert {record["attack"]["distribution"] for record in records} == {"file"}
