"""Values against ε and training-set size: which records count, which panels and lines there are, what is drawn."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from poisonbench.leaderboard.boards import boards
from poisonbench.leaderboard.plots.axis_lines import EPSILON, TRAIN_SIZE, chart
from poisonbench.leaderboard.plots.figures import SITE, drawing
from poisonbench.leaderboard.plots.lines import Chart, Point
from poisonbench.leaderboard.plots.lines_figure import describe, draw, figure
from poisonbench.leaderboard.statistics.summaries import summary
from poisonbench.leaderboard.values import VALUES
from poisonbench.store.record import Record

Seeds = Callable[..., list[Record]]
DROP = "drop"

HOSTILE = {"x": "<script>$_{"}


def of(records: list[Record], axis: Any = EPSILON, **options: Any) -> Chart:
    found = chart(records, axis, options.pop("value", DROP), **options)
    assert found is not None
    return found


def places(points: tuple[Point, ...]) -> list[tuple[float, tuple[float, ...]]]:
    """Where points are, and their seeds."""
    return [(point.x, point.seeds) for point in points]


def model(name: str) -> dict[str, str | int]:
    return {"name": name, "version": 1, "n_params": 1}


def sized(record: Record, rows: int, *deviations: str) -> Record:
    """The same with a smaller D_tr."""
    document = record.document()
    document.pop("record_id")
    document["dataset"]["n_train"] = rows
    document["protocol"]["deviations"] = [f"train_rows: None → {rows}", *deviations]
    return Record.create(**document)


def test_a_line_each_attack_and_a_panel_each_board(seeds: Seeds) -> None:
    records = [
        *seeds("tgda", [1.0, 2.0, 3.0], epsilon=0.01),
        *seeds("tgda", [4.0], epsilon=0.1),
        *seeds("emn", [5.0], epsilon=0.1),
        *seeds("emn", [6.0], epsilon=0.1, model=model("nn")),
        *seeds("emn", [7.0], epsilon=0.3, model=model("nn")),
        *seeds("emn", [7.0], epsilon=0.3, model=model("cnn")),
        *seeds("tgda", [50.0], epsilon=0.1, defense="sever"),
    ]
    found = of(records)
    protocol = records[0].protocol.name
    assert list(found.panels) == [f"{protocol} · lr", f"{protocol} · nn"]  # cnn has one ε alone
    assert {label: places(points) for label, points in found.panels[f"{protocol} · lr"].items()} == {
        "emn": [(0.1, (5.0,))],
        "tgda": [(0.01, (1.0, 2.0, 3.0)), (0.1, (4.0,))],
    }
    assert found.labels == ["emn", "tgda"]
    assert (found.y_label, found.remark) == ("drop, points", "means over n = 1 to 3 seeds")
    assert describe(found).endswith(f"the largest mean is 7.00, emn at 0.3 ({protocol} · nn).")
    assert of(records[:4], defenses=("none", "sever")).labels == ["tgda"]
    assert of(records, defenses=("none", "sever")).labels == ["emn", "tgda", "tgda / sever"]


def test_only_ranked_good_records_count_and_of_a_seed_the_latest(seeds: Seeds, planted: Callable[..., Record]) -> None:
    rules = planted().document()["protocol"]
    records = [
        *seeds("tgda", [1.0, 2.0], epsilon=0.01),
        planted("tgda", 9.0, 0, epsilon=0.01, started_at="2026-05-01T00:00:00Z", finished_at="2026-06-09T00:00:00Z"),
        planted("tgda", None, 2, epsilon=0.01),
        planted("tgda", 80.0, 3, epsilon=0.01, protocol={**rules, "deviations": ["recipe.lr: 0.1 → 1"]}),
        planted("tgda", 80.0, 3, epsilon=0.01, protocol={**rules, "locked": False}),
    ]
    assert chart(records, EPSILON, DROP) is None
    failed = [planted("tgda", None, 0, epsilon=epsilon) for epsilon in (0.01, 0.1)]
    assert chart(failed, EPSILON, "attack-time") is None
    (panel,) = of([*records, *seeds("tgda", [3.0], epsilon=0.1)]).panels.values()
    assert places(panel["tgda"]) == [(0.01, (9.0, 2.0)), (0.1, (3.0,))]


def test_settings_are_labelled_alike_in_all_panels(seeds: Seeds) -> None:
    records = [
        *(one for x in (0.1, 0.2) for one in seeds("tgda", [1.0], epsilon=x)),
        *(one for x in (0.1, 0.2) for one in seeds("tgda", [1.0], epsilon=x, params={"a": 1}, model=model("nn"))),
    ]
    assert [label for panel in of(records).panels.values() for label, points in panel.items() if points] == [
        "tgda",
        "tgda (a=1)",
    ]


def test_training_set_sizes_deviate_in_nothing_else(seeds: Seeds) -> None:
    (whole,) = seeds("tgda", [1.0])
    small = [sized(record, 100) for record in seeds("tgda", [2.0, 4.0])]
    other = sized(whole, 50, "recipe.lr: 0.1 → 1")
    found = of([whole, *small, other], TRAIN_SIZE)
    assert list(found.panels) == [f"{whole.protocol.name} · lr · ε = 0.03"]
    (panel,) = found.panels.values()
    assert places(panel["tgda"]) == [(100.0, (2.0, 4.0)), (1006.0, (1.0,))]
    assert chart([whole, other], TRAIN_SIZE, DROP) is None
    accuracy = of([whole, *small], TRAIN_SIZE, value="acc2")
    assert accuracy.y_label == VALUES["acc2"].heading
    assert next(iter(accuracy.panels.values()))["tgda"][0].seeds == (88.0, 86.0)


def test_intervals_are_those_of_boards_where_records_have_answers(seeds: Seeds, planted: Callable[..., Record]) -> None:
    """A drop that is no whole number of images has none, and keeps Student's; the caption says which is shown."""
    answered = [one for x in (0.01, 0.1) for one in seeds("tgda", [1.0, 2.0, 4.0], epsilon=x)]
    alone = [one for x in (0.01, 0.1) for one in seeds("emn", [1.001, 2.001, 4.001], epsilon=x)]
    tests = {board.conditions.epsilon: board.attacks[0].test for board in boards(answered)}
    (panel,) = of(answered).panels.values()
    for point in panel["tgda"]:
        test = tests[point.x]
        assert point.summary is not None
        assert test is not None
        assert point.summary.interval == test.interval
        assert point.summary.interval != summary(point.seeds).interval
    (panel,) = of(alone).panels.values()
    assert [point.summary for point in panel["emn"]] == [summary(point.seeds) for point in panel["emn"]]
    images, student = "95 % intervals for other seeds and test images", "over seeds alone (Student's t)"
    several = "means over n = 3 seeds; "
    assert of(answered).note == several + images
    assert of(alone).note == f"{several}95 % intervals {student}"
    assert of([*answered, *alone]).note == f"{several}{images}; of records without answers by test image {student}"
    timed = [
        planted("tgda", 1.0, seed, epsilon=x, timing={"attack_s": 1.0 + seed, "total_s": 9.0})
        for x in (0.01, 0.1) for seed in range(3)
    ]  # fmt: skip
    assert of(timed, value="attack-time").note == f"{several}95 % intervals {student}"
    one_missing = [*answered[:-1], *seeds("tgda", [0.0, 0.0, 4.001], epsilon=0.1)[2:]]
    assert student in of(one_missing).note
    (axis,) = styled(of(answered)).axes
    (bar,) = (one for one in axis.containers if isinstance(one, ErrorbarContainer))
    drawn = [sorted(segment[:, 1]) for segment in bar.lines[2][0].get_segments()]
    assert drawn == [pytest.approx(list(test.interval)) for test in tests.values() if test]
    assert of([*answered[:1], *answered[3:4]]).note == "means over n = 1 seed"


def styled(found: Chart) -> Figure:
    with drawing():
        return figure(found)


def test_few_lines_show_every_seed_and_many_stand_side_by_side(seeds: Seeds) -> None:
    for count in (5, 14):
        records = [
            one
            for index, x, name in itertools.product(range(count), (0.01, 0.3), ("lr", "nn"))
            for one in seeds(f"a{index:02d}", [1.0, 2.0, 4.0], epsilon=x, model=model(name))
        ]
        with drawing():
            drawn = figure(of(records))
        FigureCanvasAgg(drawn).draw()
        axis, _ = drawn.axes
        bars = [one for one in axis.containers if isinstance(one, ErrorbarContainer)]
        lefts = [bar.lines[0].get_window_extent().x0 for bar in bars]
        dots = [line for line in axis.get_lines() if line.get_marker() == "."]
        assert axis.get_xscale() == "log"
        assert bool(dots) == (count == 5)
        gaps = [after - before for before, after in itertools.pairwise(lefts)]
        assert gaps == pytest.approx([0.0 if count == 5 else 2 / 72 * drawn.dpi] * (count - 1), abs=1e-6)
        low, high = axis.get_ylim()
        ends = [end for point in of(records).points if point.summary for end in point.summary.interval or ()]
        assert low < min(ends) < max(ends) < high
        inside = axis.get_window_extent()
        assert all(inside.x0 < bar.lines[0].get_window_extent().x0 for bar in bars)
        assert all(bar.lines[0].get_window_extent().x1 < inside.x1 for bar in bars)


@pytest.mark.parametrize("look", [None, SITE], ids=["paper", "site"])
def test_names_are_literal_and_bytes_the_same(seeds: Seeds, look: Any) -> None:
    records = [
        one
        for params in ({}, HOSTILE)
        for x in (0.01, 0.3)
        for one in seeds("tgda", [1.0, 2.0], epsilon=x, params=params)
    ]
    options = () if look is None else (look,)
    first, again = (draw(of(records), "svg", *options) for _ in range(2))
    assert first == again
    assert b"<script" not in first
    ElementTree.fromstring(first)
    if look:
        assert b"tgda (x=&lt;script&gt;$_{)" in first
