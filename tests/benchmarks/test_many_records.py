"""A store of 100,000 records: what became of cells, a list's rows, a table. Aim: under two seconds each."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from poisonbench.experiment.protocol import resolve
from poisonbench.leaderboard.statistics.answers import Answered
from poisonbench.leaderboard.tables.marks import Mark
from poisonbench.leaderboard.tables.pivot import pivot
from poisonbench.leaderboard.tables.shapes import Shape
from poisonbench.store.database import Store
from poisonbench.store.done import NEEDED
from poisonbench.store.record import Record
from poisonbench.store.tables import Row, row_of

FIXTURE = Path(__file__).parents[1] / "unit" / "test_store_record_v5.json"
BLOCK = 1000
HASH = resolve("digits-v1", ()).hash
IMAGES = 1000
ROW = row_of(Record.read(json.loads(FIXTURE.read_text("utf-8"))))._replace(
    locked=True, deviations="[]", ranked=True, protocol_hash=HASH
)


@pytest.fixture(scope="module")
def many(timed: bool) -> int:
    """How many records."""
    return 100_000 if timed else 200


@pytest.fixture(scope="module")
def store(many: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store of that many cells, ten attacks, a seed each."""
    document: dict[str, Any] = json.loads(FIXTURE.read_text("utf-8"))
    document.pop("record_id")
    with Store.open(str(tmp_path_factory.mktemp("many"))) as opened:
        kept = [opened.artifacts.put({"x": torch.full((1,), float(n))}, kind) for n, kind in enumerate(NEEDED)]
        for start in range(0, many, BLOCK):
            records = [
                Record.create(
                    **{
                        **document,
                        "cell_hash": f"{index:064x}",
                        "artifacts": kept,
                        "attack": {**document["attack"], "name": f"attack-{index % 10}"},
                        "seeds": {**document["seeds"], "run": index},
                        "protocol": {**document["protocol"], "locked": True, "deviations": [], "hash": HASH},
                    }
                )
                for index in range(start, min(start + BLOCK, many))
            ]
            opened.add_all(records, computed=True)
        yield opened


def test_what_became_of_every_cell(benchmark: Any, store: Store, many: int) -> None:
    assert len(benchmark(store.statuses, [f"{index:064x}" for index in range(many)])) == many


def test_rows(benchmark: Any, store: Store, many: int) -> None:
    assert len(benchmark(store.rows)) == many


def test_a_table(benchmark: Any, store: Store, many: int) -> None:
    (table,) = benchmark(lambda: pivot(store.rows(), {"drop": attrgetter("drop")}, Shape()))
    assert sum(one.summary.n for one in table.measured.values()) == many


def test_answers(benchmark: Any, store: Store, many: int) -> None:
    assert len(benchmark(store.answers, [row.record_id for row in store.rows()])) == many


def test_many_attacks(benchmark: Any, timed: bool) -> None:
    """A family of a hundred attacks, each with three seeds, their answers and a rank to find."""
    rows = [_row(index, seed) for index in range(100 if timed else 10) for seed in range(3)]
    answers = {row.record_id: _answers(row) for row in rows}
    (table,) = benchmark(lambda: pivot(rows, {"drop": attrgetter("drop")}, Shape(), answers))
    assert sum(one.mark is Mark.BEST for one in table.measured.values()) == 1


def _row(index: int, seed: int) -> Row:
    drop = index / 2 + (seed - 1) * (1 + index % 7) / 10
    return ROW._replace(record_id=f"{index}-{seed}", attack=f"attack-{index}", seed=seed, drop=drop)


def _answers(row: Row) -> Answered:
    """All images are right before the attack, and then the first ones."""
    kept = np.arange(IMAGES) < round(IMAGES * (100 - (row.drop or 0.0)) / 100)
    bits = [base64.b64encode(np.packbits(right).tobytes()).decode("ascii") for right in (kept | True, kept)]
    return Answered(bits[0], bits[1], IMAGES)
