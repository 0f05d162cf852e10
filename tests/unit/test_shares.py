"""How a sweep is dealt out in shares, and what a share's process is called with."""

from __future__ import annotations

from pathlib import Path

import pytest

from poisonbench.cli.slurm import without_slurm
from poisonbench.experiment.runner import Runner
from poisonbench.store.database import Store
from poisonbench.sweeps.grid import cells, grid
from poisonbench.sweeps.shares import crafted, deal
from poisonbench.sweeps.slurm import Options, SlurmArray


@pytest.mark.parametrize("total", [1, 2, 5, 6, 9])
def test_every_cell_is_in_one_share_with_those_that_craft_the_same(total: int) -> None:
    axes = {"attack": ["label-flip", "tgda"], "defense": ["none", "loss"], "seeds": [0, 1, 2]}
    found = cells(grid(axes, "test"), "test")
    assert crafted(found) == 6
    dealt = deal(found, total)
    assert sorted(c.hash() for part in dealt for c in part) == sorted(c.hash() for c in found)
    poisons = [{c.crafting_hash() for c in part} for part in dealt]
    assert sum(map(len, poisons)) == 6
    assert max(map(len, poisons)) - min(map(len, poisons)) <= 1


def test_a_task_has_the_sweeps_own_words() -> None:
    words = ["sweep", "grid.yaml", "--slurm", "time=1", "--seeds", "0,1", "--slurm=tasks=3", "--detach", "--json"]
    assert without_slurm(words) == ["sweep", "grid.yaml", "--seeds", "0,1", "--json"]


def test_a_script_is_safe_from_what_is_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POISONBENCH_HOME", "/a b/$(id)")
    found = cells(grid({"attack": "label-flip", "seeds": [0, 1]}, "test"), "test")
    with Store.open(str(tmp_path)) as store:
        array = SlurmArray(Runner(store), found, ["sweep", "$(id); `id` 'x'"], Options.parse(["tasks=9"]), print)
        lines = array.script().splitlines()
    assert "export POISONBENCH_HOME='/a b/$(id)'" in lines
    assert lines[-1].endswith(""" sweep '$(id); `id` '"'"'x'"'"'' --quiet --share "$SLURM_ARRAY_TASK_ID/2\"""")


def test_other_machines_write_no_ahead_log(tmp_path: Path) -> None:
    """It needs memory that the processes share; see https://sqlite.org/wal.html."""
    with Store.open(str(tmp_path)) as store:
        store.share()
        with store.connections.read() as connection:
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "delete"
    with Store.open(str(tmp_path)) as store, store.connections.read() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "delete"
