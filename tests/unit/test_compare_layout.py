"""Names in `compare`: broken only where the console is too narrow for the whole table."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from poisonbench.cli import compare

PAIR: Any = SimpleNamespace(
    a="gradient-canceling (iterations=200)/loss",
    b="label-flip/sever+loss",
    seeds=(0, 1, 2),
    difference=SimpleNamespace(mean=1.25, interval=(1.0, 1.5)),
    p=0.02,
    adjusted=0.04,
)


@pytest.mark.parametrize(("width", "broken"), [(200, False), (60, True)])
def test_names_are_broken_where_there_is_no_room(monkeypatch: pytest.MonkeyPatch, width: int, broken: bool) -> None:
    file = io.StringIO()
    monkeypatch.setattr(compare, "console", Console(file=file, width=width, color_system=None))
    compare.console.print(compare._table([PAIR, PAIR], 2))
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert any(PAIR.a in line and PAIR.b in line for line in lines) is not broken
    assert any(line.startswith("gradient-canceling ") for line in lines)
