"""The table at the end of a run of several experiments."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import pytest
from rich.console import Console

from poisonbench.store.record import Record
from poisonbench.store.record_results import Metrics
from poisonbench.terminal.grid_table import grid_table


def lines(records: Sequence[Record], width: int = 80) -> list[list[str]]:
    file = io.StringIO()
    Console(file=file, width=width, color_system=None, _environ={}).print(grid_table(records))
    return [[part.strip() for part in line.split("  ") if part.strip()] for line in file.getvalue().splitlines()]


def grid(planted: Callable[..., Record], **changes: object) -> list[Record]:
    return [
        planted(attack, seed=seed, defense=defense, metrics=Metrics.of(95.0, acc2 - seed), **changes)
        for attack, acc2 in (("tgda", 90.0), ("label-flip", 94.0), ("min-max", 92.0))
        for defense in ("none", "sever")
        for seed in (0, 1)
    ]


def test_six_experiments_are_six_rows_with_their_drops(planted: Callable[..., Record]) -> None:
    conditions, heading, *rows = lines(grid(planted))
    assert len(conditions) == 1
    assert heading == ["experiment", "seeds", "acc1 %", "acc2 %", "drop"]
    names = ["tgda", "tgda/sever", "label-flip", "label-flip/sever", "min-max", "min-max/sever"]
    assert [row[0] for row in rows] == names
    assert rows[0] == ["tgda", "2", "95.00 ± 0.00", "89.50 ± 0.71", "5.50 ± 0.71"]


def test_settings_in_which_they_differ_are_in_their_names(planted: Callable[..., Record]) -> None:
    few, many = (planted("tgda", params={"epochs": epochs, "m": 1}) for epochs in (10, 20))
    _, _, *rows = lines([many, few])
    assert [row[0] for row in rows] == ["tgda (epochs=20)", "tgda (epochs=10)"]


def test_what_failed_has_its_status(planted: Callable[..., Record]) -> None:
    failed = planted("emn", status="failed", error="boom", metrics=None)
    *_, row = lines([planted("tgda"), failed])
    assert row == ["emn", "0", "failed", "failed", "failed"]


@pytest.mark.parametrize("width", [30, 40, 60, 80])
def test_no_drop_is_cut_off(planted: Callable[..., Record], width: int) -> None:
    text = "\n".join("  ".join(line) for line in lines(grid(planted), width))
    assert text.count("5.50 ± 0.71") == 2
    assert "…" not in text
