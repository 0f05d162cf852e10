"""What a terminal shows of a sweep, before it and while it runs; and the lines that a log has instead."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich import live
from rich.console import Console

from poisonbench.errors import MethodError
from poisonbench.experiment.cell import Cell
from poisonbench.experiment.runner import Outcome
from poisonbench.store.record import Record
from poisonbench.store.record_results import Metrics
from poisonbench.sweeps.estimate import Cost
from poisonbench.sweeps.grid import cells, grid
from poisonbench.sweeps.plan import Planned
from poisonbench.terminal import consoles, loops, plan_table, sweep_display
from poisonbench.terminal.clock import clock
from poisonbench.terminal.sweep_display import LATEST, SweepDisplay

FIELDS = json.loads(Path(__file__).with_name("test_store_record_v5.json").read_text("utf-8"))
FIELDS.pop("record_id")


def made(count: int, **document: Any) -> list[Cell]:
    return cells(grid({"attack": "label-flip", "seeds": list(range(count)), **document}, "sweep"), "")


def outcome(acc2: float | None, status: str = "failed") -> Outcome:
    timing = {**FIELDS["timing"], "total_s": 12.34}
    if acc2 is not None:
        return Outcome(Record.create(**{**FIELDS, "metrics": Metrics.of(90.0, acc2), "timing": timing}), None, [], [])
    error = MethodError("label-flip raised ValueError: boom")
    failure = {"status": status, "error": str(error), "metrics": None, "timing": timing}
    return Outcome(Record.create(**{**FIELDS, **failure}), error, [], [])


class Screen:
    """A console that remembers, and a clock that is set by hand."""

    def __init__(self, patch: pytest.MonkeyPatch, terminal: bool) -> None:
        self.file, self.now = io.StringIO(), 1000.0
        console = Console(file=self.file, force_terminal=terminal, width=120, color_system=None, _environ={})
        for module in (consoles, sweep_display):
            patch.setattr(module, "errors", console)
        for timed in (loops, sweep_display):
            patch.setattr(timed, "time", SimpleNamespace(monotonic=lambda: self.now))

    def shows(self, display: SweepDisplay) -> list[str]:
        """The live table as it is now, line by line."""
        file = io.StringIO()
        Console(file=file, width=120, color_system=None, _environ={}).print(display._table())
        return [" ".join(line.split()) for line in file.getvalue().splitlines()]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Screen]:
    return Screen(monkeypatch, terminal=True)


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Screen]:
    return Screen(monkeypatch, terminal=False)


def test_running_cells_are_shown_with_their_innermost_loop(terminal: Screen) -> None:
    first, second = made(2)
    display = SweepDisplay(2, {})
    head, *_ = terminal.shows(display)
    assert head.endswith("0/2 cells 0 s spent")
    one = display.began(first)
    terminal.now += 30
    two = display.began(second)
    one.begin("attack", 200, 0)
    one.advance("attack", 7, {"loss": 1.0})
    one.begin("solve", None, 3)
    two.begin("waiting", None, 0)
    terminal.now += 40
    _, *rows = terminal.shows(display)
    assert rows == [f"{first.title} solve 3 70 s", f"{second.title} waiting 40 s"]
    one.end("solve")
    two.end("waiting")
    two.end("never begun")
    two.advance("resumed", 5, {})
    _, *rows = terminal.shows(display)
    assert rows == [f"{first.title} attack 7/200 18 min left 70 s", f"{second.title} resumed 5 40 s"]


def test_finished_cells_are_counted_and_the_latest_shown(terminal: Screen) -> None:
    found = made(LATEST + 3)
    display = SweepDisplay(LATEST + 3, {})
    for cell in found[:-2]:
        display.began(cell)
        display.ended(cell, outcome(87.5))
    display.began(found[-2])
    display.ended(found[-2], outcome(None, "timeout"))
    display.began(found[-1])
    terminal.now += 210
    head, *rows = terminal.shows(display)
    assert f"{LATEST + 2}/{LATEST + 3} cells, 1 failed 4 min spent, " in head
    expected = [f"{cell.title}: drop 2.50, 12.3 s" for cell in found[2:-2]] + [f"{found[-2].title}: timeout, 12.3 s"]
    assert rows == [f"{found[-1].title} 4 min", *expected]
    assert len(expected) == LATEST
    assert terminal.file.getvalue() == f"Error: {found[-2].title}: label-flip raised ValueError: boom\n"


def left(terminal: Screen, display: SweepDisplay) -> str | None:
    _, comma, text = terminal.shows(display)[0].partition("spent, ")
    return text.removesuffix(" left") if comma else None


def test_the_time_left_is_what_was_expected_at_the_pace_so_far(terminal: Screen) -> None:
    found = made(4)
    expected = dict(zip((cell.hash() for cell in found), (10.0, 20.0, 30.0, 40.0), strict=True))
    display = SweepDisplay(4, expected)
    terminal.now += 5
    assert left(terminal, display) is None
    terminal.now += 15  # 20 s for what was to take 10: the other 90 take 180
    display.ended(found[0], outcome(80.0))
    assert left(terminal, display) == "3 min"
    terminal.now += 10  # 30 s for 50: the other 50 take 30
    display.ended(found[3], outcome(80.0))
    assert left(terminal, display) == "30 s"
    for cell in found[1:3]:
        display.ended(cell, outcome(80.0))
    assert left(terminal, display) == "0 s"


def test_cells_of_unknown_cost_count_as_the_mean_of_the_others(terminal: Screen) -> None:
    found = made(4)
    display = SweepDisplay(4, {found[0].hash(): 10.0, found[1].hash(): 30.0})  # the others: 20 each, 80 in all
    terminal.now += 40
    display.ended(found[2], outcome(80.0))
    assert left(terminal, display) == "2 min"  # 40 s for 20, the other 60 take 120
    terminal.now += 20
    display.ended(found[1], outcome(80.0))
    assert left(terminal, display) == "36 s"  # 60 s for 50, the other 30 take 36


def test_without_any_estimate_all_cells_are_alike(terminal: Screen) -> None:
    found = made(4)
    display = SweepDisplay(4, {})
    terminal.now += 40
    display.ended(found[2], outcome(80.0))
    assert left(terminal, display) == "2 min"
    free = SweepDisplay(4, dict.fromkeys((cell.hash() for cell in found), 0.0))
    free.ended(found[0], outcome(80.0))
    assert left(terminal, free) is None


def test_names_with_brackets_are_no_markup(terminal: Screen) -> None:
    display = SweepDisplay(1, {})
    at_work = display.began(made(1)[0])
    at_work.label = "[/bold] · [red]lr"
    at_work.begin("epoch [3/24]", 24, 3)
    assert terminal.shows(display)[1] == "[/bold] · [red]lr epoch [3/24] 3/24 0 s"


def watched(count: int, quiet: bool = False) -> Cell:
    (cell, *_) = made(count)
    with SweepDisplay(count, {}, quiet) as display:
        display.began(cell).begin("attack", 10, 0)
        display.ended(cell, outcome(80.0))
        display.began(cell)
        display.ended(cell, outcome(None))
    return cell


def test_a_terminal_sees_the_table_and_errors_above_it(terminal: Screen) -> None:
    cell = watched(3)
    shown = terminal.file.getvalue()
    assert f"Error: {cell.title}: label-flip raised ValueError: boom" in shown
    assert "/3 cells" in shown


def test_a_pipe_sees_a_line_a_cell(pipe: Screen) -> None:
    cell = watched(3)
    fine, failed = pipe.file.getvalue().splitlines()
    assert fine.startswith(f"1/3 {cell.title}: drop ")
    assert failed == f"Error: {cell.title}: label-flip raised ValueError: boom"


def test_a_log_says_which_cell_is_at_what(pipe: Screen) -> None:
    """Stages that take two seconds as they begin and end; what is at work once a minute, whatever comes and goes."""
    first, second, third = made(3)
    display = SweepDisplay(3, {})
    one, two = display.began(first), display.began(second)
    one.begin("pretrain", 100, 0)
    pipe.now += 1
    display.look()
    one.end("pretrain")
    one.begin("attack", 100, 0)
    two.begin("attack", None, 0)
    pipe.now += 4
    one.advance("attack", 10, {"loss": 1.0})
    display.look()
    pipe.now += 30
    display.look()
    pipe.now += 26
    one.advance("attack", 60, {})
    two.advance("attack", 7, {})
    display.look()
    display.look()
    one.end("attack")
    display.ended(first, outcome(80.0))
    display.began(third)
    pipe.now += 100
    display.ended(second, outcome(80.0))
    assert pipe.file.getvalue().splitlines() == [
        f"{first.title}: begun: attack, 10/100, 36 s left",
        f"{second.title}: begun: attack",
        "0/3 cells, 61 s spent",
        f"  {first.title}: attack, 60/100, 40 s left",
        f"  {second.title}: attack, 7",
        f"{first.title}: ended: attack, 60 s",
        f"1/3 {first.title}: drop 10.00, 12.3 s",
        f"{second.title}: ended: attack, 3 min",
        f"2/3 {second.title}: drop 10.00, 12.3 s",
    ]


def test_many_side_by_side_do_not_flood_a_log(pipe: Screen) -> None:
    display = SweepDisplay(40, {})
    for cell in made(40):
        display.began(cell).begin("attack", 100, 0)
    display.look()
    pipe.now += 61
    display.look()
    said = pipe.file.getvalue().splitlines()
    assert len(said) == 40 + 1 + LATEST + 1
    assert said[-1] == f"  and {40 - LATEST} more at work"
    pipe.now += 61
    display.look()
    assert len(pipe.file.getvalue().splitlines()) == len(said) + 1 + LATEST + 1


@pytest.mark.parametrize("kind", ["terminal", "pipe"])
def test_quiet_says_only_what_failed(request: pytest.FixtureRequest, kind: str) -> None:
    screen: Screen = request.getfixturevalue(kind)
    cell = watched(3, quiet=True)
    assert screen.file.getvalue() == f"Error: {cell.title}: label-flip raised ValueError: boom\n"


def test_a_sweep_that_is_broken_off_leaves_the_terminal(terminal: Screen) -> None:
    display = SweepDisplay(1, {})
    with pytest.raises(KeyboardInterrupt), display:
        raise KeyboardInterrupt
    assert not [
        thread
        for thread in threading.enumerate()
        if isinstance(thread, live._RefreshThread) and not thread.done.is_set()
    ]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.4, "0 s"), (99.4, "99 s"), (120.0, "2 min"), (5990.0, "100 min"), (6000.0, "1.7 h"), (360_000.0, "100.0 h")],
)
def test_times_are_as_people_read_them(seconds: float, expected: str) -> None:
    assert clock(seconds) == expected


def printed(planned: list[Planned], costs: dict[str, Cost]) -> list[list[str]]:
    file = io.StringIO()
    Console(file=file, width=120, color_system=None, _environ={}).print(plan_table.plan_table(planned, costs))
    return [[part.strip() for part in line.split("  ") if part.strip()] for line in file.getvalue().splitlines()]


def test_a_plan_has_a_line_for_each_experiment() -> None:
    flip, tgda, done = made(4), made(2, attack="tgda"), made(2, model="nn")
    states = [("ok", False), ("ok", False), ("oom", False), ("missing", True)]
    planned = [Planned(cell, *state) for cell, state in zip(flip, states, strict=True)]
    planned += [Planned(cell, "missing", True) for cell in tgda] + [Planned(cell, "failed", True) for cell in done]
    costs = {flip[3].hash(): Cost(30.0, 512.0), tgda[0].hash(): Cost(None, None), tgda[1].hash(): Cost(None, None)}
    costs |= {done[0].hash(): Cost(90.0, 1024.0), done[1].hash(): Cost(None, 2048.0)}
    assert printed(planned, costs) == [
        ["experiment", "seeds", "in store", "to run", "time", "memory"],
        ["digits-v2 · lr · label-flip · none · ε = 0.03", "4", "2 ok, 1 oom", "1", "about 30 s", "0.5 GiB"],
        ["digits-v2 · lr · tgda · none · ε = 0.03", "2", "–", "2", "?", "–"],
        ["digits-v2 · nn · label-flip · none · ε = 0.03", "2", "2 failed", "2", "at least 90 s", "2.0 GiB"],
    ]
    assert plan_table.plan_totals(planned, costs) == (
        "8 cells, 5 to run: at least 2 min on one worker; 3 of them have an attack or defense that no record tells the "
        "time of; 1 failed before and are left; --retry failed,timeout,oom runs them."
    )


def test_a_plan_with_nothing_to_do() -> None:
    planned = [Planned(cell, "ok", False) for cell in made(3)]
    assert printed(planned, {})[1] == ["digits-v2 · lr · label-flip · none · ε = 0.03", "3", "3 ok", "0", "–", "–"]
    assert plan_table.plan_totals(planned, {}) == "3 cells, 0 to run."
