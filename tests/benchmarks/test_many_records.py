"""A store of 100,000 records: what became of cells, a list's rows, a board. Aim: under two seconds each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from poisonbench.leaderboard.aggregate import boards
from poisonbench.leaderboard.values import VALUES
from poisonbench.store.database import Store
from poisonbench.store.record import Record

FIXTURE = Path(__file__).parents[1] / "unit" / "test_store_record_v2.json"
BLOCK = 1000


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
        for start in range(0, many, BLOCK):
            opened.add_all(
                Record.create(
                    **{
                        **document,
                        "cell_hash": f"{index:064x}",
                        "attack": {**document["attack"], "name": f"attack-{index % 10}"},
                        "seeds": {**document["seeds"], "run": index},
                        "protocol": {**document["protocol"], "locked": True, "deviations": []},
                    }
                )
                for index in range(start, min(start + BLOCK, many))
            )
        yield opened


def test_what_became_of_every_cell(benchmark: Any, store: Store, many: int) -> None:
    assert len(benchmark(store.statuses, [f"{index:064x}" for index in range(many)])) == many


def test_rows(benchmark: Any, store: Store, many: int) -> None:
    assert len(benchmark(store.rows)) == many


def test_boards(benchmark: Any, store: Store, many: int) -> None:
    (board,) = benchmark(lambda: boards(store.rows(), VALUES["drop"], lambda row: row.drop))
    assert sum(entry.seeds for entry in board.entries.values()) == many
