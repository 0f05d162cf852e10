"""Which cells a sweep runs: the whole truth table; and one process that works them off in order."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from poisonbench.experiment.cell import Cell
from poisonbench.experiment.runner import Outcome, Runner
from poisonbench.store.database import Store
from poisonbench.store.done import NEEDED
from poisonbench.store.record import Record
from poisonbench.store.record_origin import Artifact
from poisonbench.sweeps.grid import cells, grid
from poisonbench.sweeps.plan import FAILURES, MISSING, Alone, Overwrite, Planned, plan

FIXTURE = Path(__file__).with_name("test_store_record_v5.json")
STATES = ("ok", *FAILURES, MISSING)


KEPT: list[Artifact] = []
"""What the store of these tests has, and its records name."""


def record(cell: Cell, status: str = "ok", day: int = 1) -> Record:
    fields = json.loads(FIXTURE.read_text("utf-8"))
    fields.pop("record_id")
    failure = {} if status == "ok" else {"error": "boom", "metrics": None}
    return Record.create(
        **{**fields, "cell_hash": cell.hash(), "status": status, "finished_at": f"2026-01-{day:02d}T00:00:00Z"}
        | failure
        | {"artifacts": KEPT}
    )


def made(count: int, **document: Any) -> list[Cell]:
    return cells(grid({"attack": "label-flip", "seeds": list(range(count)), **document}, "sweep"), "")


@pytest.fixture
def store(tmp_path: Path, evidence: Callable[[Store], list[Artifact]]) -> Iterator[Store]:
    """What its records name is there."""
    with Store.open(str(tmp_path / "home")) as store:
        KEPT[:] = evidence(store)
        yield store


@pytest.fixture
def found(store: Store) -> dict[str, Cell]:
    """A cell for each state that a store may know it in."""
    by_state = dict(zip(STATES, made(len(STATES)), strict=True))
    store.add_all([record(cell, state) for state, cell in by_state.items() if state != MISSING], computed=True)
    return by_state


RETRIES = [frozenset(some) for n in range(4) for some in itertools.combinations(FAILURES, n)]


@pytest.mark.parametrize("retry", RETRIES, ids=lambda some: "+".join(sorted(some)) or "nothing")
@pytest.mark.parametrize("overwrite", Overwrite)
def test_what_is_due(store: Store, found: dict[str, Cell], overwrite: Overwrite, retry: frozenset[str]) -> None:
    due: dict[Overwrite, set[str]] = {
        Overwrite.NEVER: set(),
        Overwrite.ONLY_MISSING: {MISSING, *retry},
        Overwrite.ALWAYS: set(STATES),
    }
    assert plan(store, list(found.values()), overwrite, retry) == [
        Planned(cell, state, state in due[overwrite]) for state, cell in found.items()
    ]


def test_only_what_is_missing_is_due_unless_more_is_asked_for(store: Store, found: dict[str, Cell]) -> None:
    planned = plan(store, list(found.values()))
    assert [part.cell for part in planned if part.due] == [found[MISSING]]
    assert plan(store, []) == []


def test_a_good_record_is_not_undone_by_a_later_failure(store: Store) -> None:
    good, mended, worse = made(3)
    store.add_all([record(good, "ok", 1), record(good, "failed", 2)], computed=True)
    store.add_all([record(mended, "oom", 1), record(mended, "ok", 2)], computed=True)
    store.add_all([record(worse, "failed", 1), record(worse, "timeout", 2)], computed=True)
    planned = plan(store, [good, mended, worse], retry={"timeout"})
    assert [(part.found, part.due) for part in planned] == [("ok", False), ("ok", False), ("timeout", True)]


def test_a_good_record_whose_artifacts_are_lost_is_to_be_made_again(store: Store) -> None:
    lost, failed_later = made(2)
    store.add_all([record(lost, "failed", 1), record(lost, "ok", 2)], computed=True)
    store.add_all([record(failed_later, "ok", 1), record(failed_later, "timeout", 2)], computed=True)
    for artifact in KEPT:
        (store.home / artifact.path).unlink()
        planned = plan(store, [lost, failed_later])
        assert [(part.found, part.due) for part in planned] == [(MISSING, True), ("timeout", False)]
        assert store.for_cell(lost.hash()) is None
        assert [row.status for row in store.rows(cell_hash=lost.hash())] == ["failed", "ok"]
        assert len(store.check()["undone"]) == 2
    for n, kind in enumerate(NEEDED):
        store.artifacts.put({"x": torch.full((1,), float(n))}, kind)
    assert [part.found for part in plan(store, [lost, failed_later])] == ["ok", "ok"]
    assert store.check()["undone"] == []


def test_the_order_is_the_cells_own(store: Store) -> None:
    found = made(6)
    store.add_all([record(cell) for cell in found[::2]], computed=True)
    assert [part.cell.seed for part in plan(store, found[::-1])] == [5, 4, 3, 2, 1, 0]


class Diary:
    """Writes down what a sweep tells; hears of one cell's loops at a time."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.seed = -1

    def began(self, cell: Cell) -> Diary:
        self.seed = cell.seed
        self.lines.append(f"began {cell.seed}")
        return self

    def ended(self, cell: Cell, outcome: Outcome) -> None:
        self.lines.append(f"ended {cell.seed} {outcome.record.status}")

    def begin(self, task: str, total: int | None, done: int) -> None:
        self.lines.append(f"loop {self.seed}")

    def advance(self, task: str, done: int, measures: dict[str, float]) -> None:
        pass

    def end(self, task: str) -> None:
        pass


def test_alone_runs_one_cell_after_the_other_and_tells_the_watch(store: Store) -> None:
    first, second, third = made(3, set={"recipe.epochs": 1})
    slow = replace(second, attack=replace(second.attack, flip="random", class_weights=(1.0, 1.0)))  # for 10 classes
    runner, diary = Runner(store), Diary()
    outcomes = Alone(runner).run([third, slow, first], diary)
    assert diary.lines == []  # nothing begins before the outcome is asked for
    assert next(outcomes).record.seeds.run == 2
    assert [line for line in diary.lines if not line.startswith("loop")] == ["began 2", "ended 2 ok"]
    assert "loop 2" in diary.lines
    failed, good = outcomes
    assert (failed.record.status, good.record.status) == ("failed", "ok")  # a failure does not stop the sweep
    assert failed.error is not None
    assert [line for line in diary.lines if not line.startswith("loop")][2:] == [
        "began 1", "ended 1 failed", "began 0", "ended 0 ok",
    ]  # fmt: skip
    assert "loop 0" in diary.lines
    assert store.statuses([cell.hash() for cell in (third, slow, first)]) == {
        third.hash(): "ok", slow.hash(): "failed", first.hash(): "ok",
    }  # fmt: skip


def test_the_dataset_is_loaded_once_and_the_record_is_stored_when_the_watch_hears_of_it(store: Store) -> None:
    found = made(2, set={"recipe.epochs": 1})
    runner = Runner(store)

    class Check(Diary):
        def ended(self, cell: Cell, outcome: Outcome) -> None:
            assert store.for_cell(cell.hash()) == outcome.record

    assert len(list(Alone(runner).run(found, Check()))) == 2
    assert list(runner._datasets) == ["digits"]
    again = list(Alone(runner).run(found, Check()))
    assert [outcome.reused for outcome in again] == [["record"], ["record"]]
