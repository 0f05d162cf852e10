"""How many processes cells get, and which device each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch

from poisonbench.cli.options import Data, Machine, Workers
from poisonbench.cli.workplace import WORKER_BYTES, Workplace
from poisonbench.experiment.runner import Runner
from poisonbench.store.database import Store
from poisonbench.sweeps import plan as sweep
from poisonbench.sweeps.grid import cells, grid
from poisonbench.sweeps.workers.processes import devices


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    with Store.open(str(tmp_path)) as store:
        yield Runner(store)


@pytest.fixture(autouse=True)
def four_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def jobs(runner: Runner, workers: Workers | None = None, **axes: object) -> int:
    found = cells(grid({"attack": "label-flip", "protocol": "digits-v2", **axes}, "test"), "test")
    return Workplace(None, Data(), Machine(), workers or Workers()).jobs(runner, found)


def test_small_cells_get_a_process_for_each_thread(runner: Runner) -> None:
    assert jobs(runner, seeds=list(range(10))) == 4
    assert jobs(runner, seeds=[0, 1, 2]) == 3
    assert jobs(runner, seeds=0) == 1


def test_one_large_cell_makes_all_run_in_turn(runner: Runner) -> None:
    """A step of the digits' cnn fills several threads when its batch is large."""
    assert jobs(runner, seeds=[0, 1], model="cnn", set={"recipe.batch_size": 900}) == 1
    assert jobs(runner, seeds=[0, 1], model=["lr", "cnn"], set={"recipe.batch_size": 900}) == 1


def test_who_asks_gets_as_many(runner: Runner) -> None:
    assert jobs(runner, Workers(jobs=7), seeds=0, model="cnn") == 7
    assert jobs(runner, Workers(jobs=1), seeds=[0, 1, 2]) == 1


def test_memory_is_shared_too(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    class Tight:
        available = int(2.5 * WORKER_BYTES)

    monkeypatch.setattr(psutil, "virtual_memory", Tight)
    assert jobs(runner, seeds=list(range(10))) == 2
    Tight.available = 1
    assert jobs(runner, seeds=list(range(10))) == 1


def test_what_the_store_has_needs_no_worker(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    found = cells(grid({"attack": "label-flip", "protocol": "digits-v2"}, "test"), "test")
    last = found[-1].hash()
    monkeypatch.setattr(Runner, "known", lambda self, cell: None if cell.hash() == last else object())
    with Workplace(None, Data(), Machine(), Workers()).pool(runner, found) as pool:
        assert isinstance(pool, sweep.Alone)


def test_workers_share_outdevices_unless_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert devices(torch.device("cuda")) == ("cuda:0", "cuda:1", "cuda:2")
    assert devices(torch.device("cuda:1")) == ("cuda:1",)
    assert devices(torch.device("cpu")) == ("cpu",)
