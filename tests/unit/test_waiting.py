"""A stage that another process computes is waited for, and only then is a wait shown."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import torch

from poisonbench.stages.cache import StageCache
from poisonbench.stages.stage import Deadline, Stage
from poisonbench.store.canonical import content_hash
from poisonbench.store.database import Store
from poisonbench.sweeps.workers.remote_store import RemoteStore
from poisonbench.sweeps.workers.store_server import StoreServer

WAITING = "waiting for another run's weights"
KEY = content_hash({"kind": "weights", "inputs": {}, "stream": [0, "train"]})


class Recorder:
    """A Progress that remembers what begins and ends."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []
        self.begun = threading.Event()

    def begin(self, task: str, total: int | None, done: int) -> None:
        self.heard.append(("begin", task))
        self.begun.set()

    def advance(self, task: str, done: int, measures: dict[str, float]) -> None:
        raise AssertionError(task)

    def end(self, task: str) -> None:
        self.heard.append(("end", task))


def compute(stage: Stage) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    return {"w": torch.zeros(2)}, {}


def stages(store: Any) -> tuple[StageCache, Recorder]:
    recorder = Recorder()
    return StageCache(store, torch.device("cpu"), recorder, Deadline()), recorder


def test_nobody_else_and_no_word_of_waiting(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        cache, recorder = stages(store)
        cache.get_or_compute("weights", {}, (0, "train"), compute)
    assert recorder.heard == []


def test_a_wait_is_shown_until_it_is_over(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        cache, recorder = stages(store)
        other = threading.Thread(target=cache.get_or_compute, args=("weights", {}, (0, "train"), compute))
        with store.lock(KEY):
            other.start()
            assert recorder.begun.wait(10)
        other.join(10)
    assert recorder.heard == [("begin", WAITING), ("end", WAITING)]
    assert cache.computed == ["weights"]


def test_the_same_on_a_cluster(tmp_path: Path) -> None:
    server = StoreServer(str(tmp_path))
    store = RemoteStore(lambda method, *arguments: getattr(server, method)(*arguments), "me", tmp_path)
    cache, recorder = stages(store)
    cache.get_or_compute("weights", {}, (0, "train"), compute)
    assert recorder.heard == []

    key = content_hash({"kind": "weights", "inputs": {"a": 1}, "stream": [0, "train"]})
    assert server.acquire(key, "another")
    work = threading.Thread(target=cache.get_or_compute, args=("weights", {"a": 1}, (0, "train"), compute))
    work.start()
    assert recorder.begun.wait(10)
    server.release(key, "another")
    work.join(10)
    assert recorder.heard == [("begin", WAITING), ("end", WAITING)]
