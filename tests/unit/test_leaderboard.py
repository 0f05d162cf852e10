"""Boards, values and curves from records whose means are known."""

import json
from pathlib import Path
from typing import Any

import pytest

from poisonbench.errors import UnknownNameError
from poisonbench.leaderboard import fraction_plot
from poisonbench.leaderboard.aggregate import Board
from poisonbench.leaderboard.aggregate import boards as boards_of_rows
from poisonbench.leaderboard.curves import Point, curves
from poisonbench.leaderboard.tables import markdown
from poisonbench.leaderboard.values import VALUES, Value, value
from poisonbench.store.record import Metrics, Record
from poisonbench.store.tables import COLUMNS, Row, columns_of

FIXTURE = Path(__file__).with_name("test_store_record_v2.json")


def record(
    seed: int, acc2: float, defense: str = "loss", fraction: float | None = 0.03, day: int = 1, **changes: Any
) -> Record:
    """acc1 = 90, acc2 without the defense 80, defense alone 89; 1006 + 30 rows; half of the removed rows are poison."""
    fields = json.loads(FIXTURE.read_text("utf-8"))
    fields.pop("record_id")
    params = {} if fraction is None else {"fraction": fraction, "rounds": 1}
    removed = round((fraction or 0.0) * 1036)
    return Record.create(
        **{
            **fields,
            "cell_hash": f"{seed:032x}{int(1000 * (fraction or 0)):032x}",
            "defense": {**fields["defense"], "name": defense, "params": params},
            "seeds": {**fields["seeds"], "run": seed},
            "metrics": Metrics.of(90.0, acc2, 80.0, 89.0),
            "defense_detail": {"removed": removed, "precision": 0.5, "recall": fraction} if fraction else None,
            "finished_at": f"2026-01-{day:02d}T00:00:00Z",
            "protocol": {**fields["protocol"], "locked": True, "deviations": []},
            **changes,
        }
    )


def boards(records: list[Record], what: Value) -> list[Board]:
    """The boards of records, by their rows in the store's table."""
    by_id = {record.record_id: what.of(record) for record in records}
    rows = [Row(**{name: columns_of(record)[name] for name in COLUMNS}) for record in records]
    for row in rows:
        assert what.column is None or getattr(row, what.column) == by_id[row.record_id]
    return boards_of_rows(rows, what, lambda row: by_id[row.record_id])


def test_a_board_is_the_mean_over_seeds_of_the_latest_ranked_records() -> None:
    unranked = {**record(0, 1.0).document()["protocol"], "deviations": ["recipe.epochs: 100 → 1"]}
    found = boards(
        [
            record(0, 50.0, day=1),
            record(0, 82.0, day=2),  # supersedes the one above
            record(1, 84.0),
            record(2, 10.0, protocol=unranked),
            record(0, 79.0, "none", None),
            record(3, 0.0, status="failed", error="boom", metrics=None),
        ],
        value("drop"),
    )
    assert len(found) == 1
    board = found[0]
    assert (board.unranked, board.failed) == (1, 1)
    assert board.attacks == ["tgda"]
    assert board.defenses == ["none", "loss"]
    entry = board.entries["tgda", "loss"]
    assert (entry.mean, entry.seeds) == (7.0, 2)
    assert entry.std == pytest.approx(2**0.5)
    assert board.entries["tgda", "none"].std is None
    assert "| tgda | 11.00 (1) | 7.00 ± 1.41 (2) |" in markdown(board)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("drop", 6.0), ("saved", 4.0), ("clean-cost", 1.0), ("precision", 0.5), ("recall", 0.25), ("removed", 259.0)],
)
def test_values(name: str, expected: float) -> None:
    board = boards([record(0, 84.0, fraction=0.25)], value(name))[0]
    assert board.entries["tgda", "loss"].mean == expected
    assert VALUES[name].heading in markdown(board)


def test_a_value_that_a_record_has_not_is_left_open() -> None:
    board = boards([record(0, 84.0, "none", None)], value("recall"))[0]
    assert board.entries == {}
    with pytest.raises(UnknownNameError, match="Did you mean 'recall'"):
        value("recal")


def test_settings_that_differ_are_rows_of_their_own() -> None:
    board = boards([record(0, 84.0, fraction=0.03), record(0, 86.0, fraction=0.1)], value("drop"))[0]
    assert board.defenses == ["loss (fraction=0.03)", "loss (fraction=0.1)"]


def test_curves_put_fractions_in_order_and_seeds_together() -> None:
    records = [
        record(0, 84.0, fraction=0.1),
        record(1, 86.0, fraction=0.1),
        record(0, 99.0, fraction=0.03, day=1),
        record(0, 82.0, fraction=0.03, day=2),
        record(0, 85.0, "sever", 0.03),
        record(0, 79.0, "none", None),
    ]
    (found,) = curves(records)
    assert found.undefended == 10.0
    assert list(found.by_defense) == ["loss", "sever"]
    low, high = found.by_defense["loss"]
    assert low == Point(31 / 1036, 8.0, None, 1.0, 0.03, 1)
    assert high == Point(104 / 1036, 5.0, pytest.approx(2**0.5), 1.0, pytest.approx(0.1), 2)
    assert curves([record(0, 79.0, "none", None)]) == []


@pytest.mark.parametrize("count", [1, 5])
def test_the_same_curves_give_the_same_bytes(count: int) -> None:
    records = [
        record(0, 84.0, fraction=fraction, attack={**record(0, 1.0).document()["attack"], "name": f"a{index}"})
        for index in range(count)
        for fraction in (0.03, 0.1)
    ]
    first, again = (fraction_plot.draw(curves(records), "svg") for _ in range(2))
    assert first == again
    assert first.startswith(b"<?xml")
    assert fraction_plot.draw(curves(records), "png").startswith(b"\x89PNG")
