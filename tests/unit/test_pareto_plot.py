"""Drop against seconds: who is on the front, whose seconds are comparable, names that can be read."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg

from poisonbench.leaderboard.boards import boards
from poisonbench.leaderboard.plots.figures import SITE, drawing
from poisonbench.leaderboard.plots.pareto import Pareto, pareto
from poisonbench.leaderboard.plots.pareto_figure import describe, draw, figure
from poisonbench.store.record import Record

Seeds = Callable[..., list[Record]]
HERE = {"python": "3", "torch": "2", "cpu": "this cpu", "gpu": None, "threads": 1, "git": None}
THERE = {**HERE, "gpu": "a gpu"}


def timed(seconds: float | None) -> dict[str, Any]:
    return {"timing": {"attack_s": seconds, "total_s": 9.0}}


def of(records: list[Record], *defense: str) -> Pareto:
    (board,) = boards(records)
    found = pareto(board, *defense)
    assert found is not None
    return found


def attack(seeds: Seeds, name: str, seconds: float, *drops: float, **options: Any) -> list[Record]:
    return seeds(name, list(drops), **timed(seconds), **{"environment": HERE, **options})


@pytest.fixture
def mixed(seeds: Seeds) -> list[Record]:
    return [
        *attack(seeds, "slow", 100.0, 5.0, 7.0),
        *attack(seeds, "fast", 0.1, 1.0, 1.0),
        *attack(seeds, "beaten", 100.0, 2.0, 3.0),
        *attack(seeds, "elsewhere", 0.01, 9.0, 9.5, environment=THERE),
        *attack(seeds, "defended", 0.01, 9.0, defense="sever"),
        *seeds("untimed", [9.0, 9.0], **timed(None)),
        *seeds("found", [9.0, 9.0], **timed(0.0)),
    ]


def test_the_front_is_of_one_machine(mixed: list[Record]) -> None:
    found = of(mixed)
    assert [point.label for point in found.points] == ["elsewhere", "fast", "beaten", "slow"]
    assert [point.label for point in found.front] == ["fast", "slow"]
    assert [point.label for point in found.points if not point.comparable] == ["elsewhere"]
    assert found.machine == "this cpu · 1 thread"
    assert (found.points[-1].drop.mean, found.points[-1].seconds) == (6.0, 100.0)
    assert describe(found).endswith("faster than fast (1.00 points, 0.1 s), slow (6.00 points, 100 s).")
    assert [point.label for point in of(mixed, "sever").points] == ["defended"]


def test_seconds_of_two_machines_in_one_mean_are_marked(seeds: Seeds) -> None:
    both = [*attack(seeds, "both", 1.0, 5.0), *attack(seeds, "both", 1.0, 5.0, 6.0, environment=THERE)[1:]]
    found = of([*both, *attack(seeds, "a", 1.0, 1.0, 2.0), *attack(seeds, "b", 1.0, 1.0, 2.0, 3.0)])
    assert {point.label: point.comparable for point in found.points} == {"both": False, "a": True, "b (n = 3)": True}
    assert [point.label for point in found.front] == ["b (n = 3)"]


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 5)), min_size=1, max_size=8))
@settings(deadline=None, max_examples=25)
def test_on_the_front_is_whom_nobody_beats(seeds: Seeds, found: list[tuple[int, int]]) -> None:
    records = [one for k, (x, y) in enumerate(found) for one in attack(seeds, f"a{k}", float(x), float(y))]
    front = {point.label for point in of(records).front}
    for k, (x, y) in enumerate(found):
        beaten = any((a <= x and b >= y) and (a < x or b > y) for a, b in found)
        assert (f"a{k}" in front) != beaten


def test_hollow_points_and_a_note_say_whose_seconds_do_not_compare(mixed: list[Record]) -> None:
    with drawing():
        drawn = figure(of(mixed))
    hollow = [
        line
        for line in drawn.axes[0].get_lines()
        if line.get_markerfacecolor() == "none" and line.get_marker() != "None"
    ]
    assert [list(line.get_xdata()) for line in hollow if line.get_marker() == "o"] == [[0.01]]
    note = drawn.texts[1].get_text().replace("\n", " ").replace("\N{NO-BREAK SPACE}", " ")
    assert "seconds on this cpu · 1 thread · hollow: another machine" in note
    alone = [record for record in mixed if record.environment.gpu is None]
    with drawing():
        assert "hollow" not in figure(of(alone)).texts[1].get_text()


@pytest.mark.parametrize("count", [1, 10, 30])
def test_no_name_covers_another_or_leaves_the_plot(seeds: Seeds, count: int) -> None:
    records = [
        one for k in range(count) for one in attack(seeds, f"attack-{k}", 1.5 ** (k % 7), k % 5, k % 5 + 0.5, k % 3)
    ]
    with drawing():
        drawn = figure(of(records))
    renderer = FigureCanvasAgg(drawn).get_renderer()
    (axis,) = drawn.axes
    boxes = [text.get_window_extent(renderer) for text in axis.texts]
    assert len(boxes) == count
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)
    inside = axis.get_window_extent(renderer)
    assert all(inside.x0 - 1 <= box.x0 and box.x1 <= inside.x1 + 1 for box in boxes)
    assert all(inside.y0 - 1 <= box.y0 and box.y1 <= inside.y1 + 1 for box in boxes)


def test_the_same_points_give_the_same_bytes_and_text_stays_text(mixed: list[Record], seeds: Seeds) -> None:
    hostile = attack(seeds, "slow", 7.0, 1.0, params={"x": "</svg><script>$"})
    first, again = (draw(of([*mixed, *hostile]), "svg", SITE) for _ in range(2))
    assert first == again
    assert b"slow (x=&lt;/svg&gt;&lt;script&gt;$)" in first
    assert b"<script" not in first


def test_nothing_timed_is_nothing(seeds: Seeds) -> None:
    (board,) = boards(seeds("a", [1.0], **timed(None)))
    assert pareto(board) is None
