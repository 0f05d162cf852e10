"""Bars in narrow consoles, and the lines that a log has instead of them."""

from __future__ import annotations

import io
import time
from types import SimpleNamespace

import pytest
from rich.console import Console

from poisonbench.terminal import bars, consoles, loops
from poisonbench.terminal.bars import Bars, BarTable
from poisonbench.terminal.cell_bars import CellBars
from poisonbench.terminal.loops import Loops

TITLE = "10/10 digits-v2 · lr · gradient-matching on cnn · spectral-signatures · ε = 0.03 · seed 9"
MEASURES = {"validation_loss": 0.123456, "residual": 1e-5, "steps": 16.0}


class Clock:
    """Time that is set by hand."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        for module in (bars, loops):
            patch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.now))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def drawn(running: Loops, width: int) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=width, color_system=None, _environ={}).print(BarTable(running))
    return file.getvalue().splitlines()


@pytest.mark.parametrize("width", [24, 30, 40, 60, 80, 120, 200])
def test_how_far_and_how_long_are_whole(clock: Clock, width: int) -> None:
    running = Loops(TITLE)
    running.begin("tgda", 2000, 0)
    running.begin("match 1 of 8", 250, 0)
    clock.now += 100
    running.advance("tgda", 1000, MEASURES)
    running.advance("match 1 of 8", 1, {})
    text = "\n".join(drawn(running, width))
    for whole in ("1000/2000", "2 min left", "1/250", "6.9 h left", "tgda"):
        assert whole in " ".join(text.split()), text
    assert all(len(line) <= width for line in drawn(running, width))
    assert "…" not in text
    assert "".join(text.split()).startswith("".join(TITLE.split()))


def test_of_the_measures_there_are_as_many_as_have_room(clock: Clock) -> None:
    running = Loops()
    running.begin("tgda", 2000, 0)
    clock.now += 10
    running.advance("tgda", 1000, MEASURES)
    (wide,), (usual,), (narrow,) = (drawn(running, width) for width in (120, 80, 50))
    assert wide.rstrip().endswith("validation loss 0.123  residual 1e-05  steps 16")
    assert usual.rstrip().endswith("10 s left validation loss 0.123")
    assert narrow.rstrip().endswith("10 s left")
    assert [len(line.split("━")) - 1 for line in (wide, usual, narrow)] == [
        12,
        12,
        12,
    ]  # half of what a bar takes at most


def test_a_resumed_loop_counts_from_where_it_went_on(clock: Clock) -> None:
    running = Loops()
    running.begin("tgda", 1000, 900)
    clock.now += 10
    assert running.running["tgda"].left(clock.now) == ""
    running.advance("tgda", 910, {})
    assert running.running["tgda"].left(clock.now) == "90 s left"


def log(patch: pytest.MonkeyPatch) -> io.StringIO:
    file = io.StringIO()
    console = Console(file=file, width=80, color_system=None, _environ={})
    for module in (bars, consoles):
        patch.setattr(module, "errors", console)
    return file


def test_a_log_hears_of_long_stages_alone(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    file, shown = log(monkeypatch), Bars()
    shown.label = "1/2 a"
    for seconds in (0.5, 1.9):
        shown.begin("pretrain", 100, 0)
        clock.now += seconds
        shown._loops.look()
        shown.end("pretrain")
    shown.begin("tgda", 800, 0)
    for step in range(1, 201):
        clock.now += 1
        shown.advance("tgda", step, {"loss": 1.0})
        shown._loops.look()
    shown.end("tgda")
    assert file.getvalue().splitlines() == [
        "1/2 a: begun: tgda, 2/800, 13 min left",
        "1/2 a: tgda, 62/800, 12 min left",
        "1/2 a: tgda, 122/800, 11 min left",
        "1/2 a: tgda, 182/800, 10 min left",
        "1/2 a: ended: tgda, 3 min",
    ]


def test_a_log_is_written_though_no_step_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a thread of its own: one step of a large problem takes minutes."""
    file = log(monkeypatch)
    monkeypatch.setattr(loops, "BRIEF_S", 0.0)
    with Bars() as shown:
        shown.begin("tgda", 800, 0)
        for _ in range(100):
            if file.getvalue():
                break
            time.sleep(0.05)
        shown.end("tgda")
    begun, ended = file.getvalue().splitlines()
    assert begun == "begun: tgda, 0/800"
    assert ended.startswith("ended: tgda, ")


def test_quiet_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    file = log(monkeypatch)
    monkeypatch.setattr(loops, "BRIEF_S", 0.0)
    with CellBars(1, quiet=True)._bars as shown:
        shown.begin("tgda", 800, 0)
        time.sleep(0.7)
        shown.end("tgda")
    assert file.getvalue() == ""
