"""Two runs of one cell at once, on one store: there is one record of it in the end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch

from poisonbench.experiment import runner as running
from poisonbench.experiment.cell import Cell
from poisonbench.experiment.runner import Outcome, Runner, play
from poisonbench.stages.cache import StageCache
from poisonbench.stages.stage import Deadline, Silent
from poisonbench.store.database import Store
from poisonbench.sweeps.plan import Unwatched
from poisonbench.sweeps.workers.reports import Report
from poisonbench.sweeps.workers.worker_pool import Attempt, WorkerPool


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(str(tmp_path / "store")) as opened:
        yield opened


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch, store: Store) -> list[Outcome]:
    """What another run made of the cell, from start to end, after this one had looked for a record."""
    theirs = list[Outcome]()

    def played(cell: Cell, *rest: Any) -> Outcome:
        monkeypatch.setattr(running, "play", play)
        theirs.append(Runner(store).run(cell))
        return play(cell, *rest)

    monkeypatch.setattr(running, "play", played)
    return theirs


def test_the_record_that_is_there_by_then_is_taken(
    cell: Callable[..., Cell], store: Store, beside: list[Outcome]
) -> None:
    outcome = Runner(store).run(cell())
    assert outcome.record == beside[0].record
    assert (outcome.reused, outcome.computed, outcome.exit_code) == (["record"], [], 0)
    assert store.records() == [beside[0].record]


def test_by_force_each_makes_its_own(cell: Callable[..., Cell], store: Store, beside: list[Outcome]) -> None:
    outcome = Runner(store, force=True).run(cell())
    assert outcome.record != beside[0].record
    assert len(store.records()) == 2


def test_a_failure_is_recorded_by_each(cell: Callable[..., Cell], store: Store, beside: list[Outcome]) -> None:
    outcome = Runner(store).run(cell(attack__how="raises"))
    assert outcome.exit_code == 1
    assert [record.status for record in store.records()] == ["failed", "failed"]


def test_a_failed_record_is_in_nobodys_way(cell: Callable[..., Cell], store: Store) -> None:
    """As under `sweep --retry`, after a run that was out of time."""
    late = Runner(store, timeout=0.0).run(cell(attack__how="slow"))
    assert late.record.status == "timeout"
    since = datetime.now(UTC)
    assert (
        Runner(store).keep(cell(), play(cell(), Runner(store).dataset(cell()), stages(store)), since).record.status
        == "ok"
    )
    assert len(store.records()) == 2


def test_of_two_at_the_same_instant_one_is_kept(cell: Callable[..., Cell], store: Store, tmp_path: Path) -> None:
    since = datetime.now(UTC)
    ours = [play(cell(), Runner(store).dataset(cell()), stages(store)) for _ in range(2)]
    barrier, kept = threading.Barrier(2), list[Outcome]()

    def keep(outcome: Outcome) -> None:
        with Store.open(str(tmp_path / "store")) as own:
            barrier.wait()
            kept.append(Runner(own).keep(cell(), outcome, since))

    threads = [threading.Thread(target=keep, args=(outcome,)) for outcome in ours]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [record.record_id for record in store.records()] == [kept[0].record.record_id]
    assert kept[0].record == kept[1].record


def stages(store: Store) -> StageCache:
    return StageCache(store, torch.device("cpu"), Silent(), Deadline())


@dataclass(frozen=True)
class Elsewhere(WorkerPool[str]):
    """A worker that is overtaken by another run."""

    runner: Runner
    theirs: list[Outcome]

    @property
    def room(self) -> int:
        return 1

    def start(self, attempt: Attempt) -> str:
        self.theirs.append(Runner(self.runner.store).run(attempt.cell))
        return attempt.owner

    def wait(self, running: Collection[str]) -> Iterable[str]:
        return list(running)

    def reports(self, running: Iterable[Attempt]) -> Mapping[str, Report]:
        return {}

    def stop(self, handle: str) -> None:
        raise AssertionError(handle)

    def outcome(self, handle: str, attempt: Attempt, hung: bool) -> Outcome | None:
        return play(attempt.cell, self.runner.dataset(attempt.cell), stages(self.runner.store))


@pytest.mark.parametrize(("force", "records"), [(False, 1), (True, 2)])
def test_the_same_of_workers(cell: Callable[..., Cell], store: Store, force: bool, records: int) -> None:
    theirs = list[Outcome]()
    (outcome,) = Elsewhere(Runner(store, force=force), theirs).run([cell()], Unwatched())
    assert (outcome.record == theirs[0].record) is not force
    assert len(store.records()) == records
