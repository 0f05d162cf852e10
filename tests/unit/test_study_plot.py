"""A study's curves: what is drawn where, what is not there, and text that stays text and apart."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from poisonbench.cli.study_results import write_files
from poisonbench.leaderboard.plots import fraction_figure
from poisonbench.leaderboard.plots.figures import DASHES, FORMATS, MARKERS, PAPER, drawing
from poisonbench.leaderboard.plots.fraction import curves as removal
from poisonbench.leaderboard.studies.plot import draw, figure
from poisonbench.leaderboard.studies.results import CLEAN, Entry, StudyResults
from poisonbench.store.record import Record
from poisonbench.store.record_results import Metrics
from poisonbench.sweeps import study as studies

FIXTURE = Path(__file__).with_name("test_store_record_v5.json")
HOSTILE = "$x_1 <b>&amp; 50 % \\frac{ $"
"""As mathematics it would not parse."""


def record(seed: int, drop: float) -> Record:
    fields = json.loads(FIXTURE.read_text("utf-8"))
    fields.pop("record_id")
    changes = {"seeds": {**fields["seeds"], "run": seed}, "metrics": Metrics.of(90.0, 90.0 - drop, None, None)}
    return Record.create(**{**fields, **changes, "defense_detail": None})


def entry(row: str, column: str, x: float | None, *drops: float, **printed: float) -> Entry:
    return Entry(row, column, x, tuple(record(seed, drop) for seed, drop in enumerate(drops)), printed=printed)


def results(*entries: Entry, **changes: Any) -> StudyResults:
    fields = {"title": "Drop against ε", "shows": ("drop",), "x_label": "ε", **changes}
    return StudyResults("figure4", "cpu", entries=entries, **fields)


def styled(found: StudyResults) -> Figure:
    with drawing():
        return figure(found)


def panels(found: StudyResults) -> list[Axes]:
    return [axis for axis in styled(found).axes if axis.axison]


def bars(axis: Axes) -> list[ErrorbarContainer]:
    return [container for container in axis.containers if isinstance(container, ErrorbarContainer)]


def line_of(bar: ErrorbarContainer) -> Line2D:
    line: Line2D = bar.lines[0]
    return line


def hollow(axis: Axes) -> list[Line2D]:
    return [line for line in axis.get_lines() if line.get_markerfacecolor() == "none"]


def dots(axis: Axes) -> list[Line2D]:
    return [line for line in axis.get_lines() if line.get_marker() == "."]


def y(lines: Sequence[Line2D]) -> list[float]:
    return [float(value) for line in lines for value in line.get_ydata()]


def words(drawn: Figure) -> list[str]:
    (legend,) = drawn.legends
    return [text.get_text() for text in legend.get_texts()]


FULL = results(
    entry("LR", "label-flip", 0.03, 1.0, 2.0, 3.0, drop=1.5),
    entry("LR", "label-flip", 0.1, 4.0),
    entry("LR", "tgda", 0.03, 2.5),
    entry("LR", "tgda", 0.1),
    entry("LR", "tgda", 1.0, 6.0, 6.0),
    entry("ResNet-18", "tgda", 0.03, drop=5.5),
    percent=True,
)


@pytest.mark.parametrize("format_", FORMATS)
def test_the_same_results_give_the_same_bytes(format_: str) -> None:
    first, again = (draw(FULL, format_) for _ in range(2))
    assert first == again
    assert first.startswith({"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[format_])


def test_means_gaps_and_intervals() -> None:
    axis, _ = panels(FULL)
    flip, tgda = bars(axis)
    assert line_of(flip).get_xydata().tolist() == [[3.0, 2.0], [10.0, 4.0]]
    assert list(line_of(tgda).get_xdata()) == [3.0, 10.0, 100.0]
    assert y([line_of(tgda)]) == [2.5, pytest.approx(math.nan, nan_ok=True), 6.0]
    half = 4.302652729911275 / 3**0.5  # Student's t_{0.975, 2} · s / √3 with s = 1; two seeds that agree have none
    segments = [segment for bar in (flip, tgda) for segment in bar.lines[2][0].get_segments() if segment.size]
    assert [segment[:, 1].tolist() for segment in segments] == [pytest.approx([2 - half, 2 + half])]


def test_seeds_are_dots_beside_a_mean_of_several() -> None:
    axis, _ = panels(FULL)
    assert y(dots(axis)) == [1.0, 2.0, 3.0, 6.0, 6.0]
    assert {to_hex(line.get_color()).upper() for line in dots(axis)} == set(PAPER.palette[:2])


def test_what_the_paper_prints_is_hollow_and_of_the_lines_colour() -> None:
    for axis, expected, colour in zip(panels(FULL), ([1.5], [5.5]), PAPER.palette, strict=False):
        assert y(hollow(axis)) == expected
        assert {line.get_color() for line in hollow(axis)} == {colour}
    assert words(styled(FULL)) == ["label-flip", "tgda", "95 % interval", "one seed", "paper, as printed"]


def test_the_legend_explains_only_what_is_there() -> None:
    assert words(styled(results(entry("LR", "a", 1.0, 2.0)))) == ["a"]
    assert words(styled(results(entry("LR", "a", 1.0, 2.0, 2.0)))) == ["a", "one seed"]


def test_a_panel_that_was_not_run_says_so() -> None:
    found = [[text.get_text() for text in axis.texts] for axis in panels(FULL)]
    assert found == [[], ["not run"]]
    nothing = results(entry("LR", "a", 1.0), entry("NN", "a", 1.0))
    assert [[text.get_text() for text in axis.texts] for axis in panels(nothing)] == [["not run"]] * 2
    assert draw(nothing, "svg").startswith(b"<?xml")


def test_a_record_without_the_value_is_as_good_as_none() -> None:
    fields = record(0, 1.0).document()
    fields.pop("record_id")
    failed = Record.create(**{**fields, "status": "failed", "error": "boom", "metrics": None})
    (axis,) = panels(results(Entry("LR", "a", 1.0, (failed,))))
    assert [text.get_text() for text in axis.texts] == ["not run"]


@pytest.mark.parametrize(
    ("values", "percent", "scale", "ticks"),
    [
        ((0.005, 0.01, 0.03, 0.1, 1.0), True, "log", ["0.5", "1", "3", "10", "100"]),
        ((100, 200, 300), False, "linear", ["100", "200", "300"]),
        ((0.01, 0.1), True, "linear", ["1", "10"]),
        ((0.0, 1.0, 20.0), False, "linear", ["0", "1", "20"]),
        ((0.03,), True, "linear", ["3"]),
        ((1000, 1001, 1002, 13007), False, "log", ["1000", "13007"]),
    ],
)
def test_the_x_axis(values: tuple[float, ...], percent: bool, scale: str, ticks: list[str]) -> None:
    found = results(*(entry(row, "a", x, 1.0) for row in ("LR", "NN") for x in values), percent=percent)
    for axis in panels(found):
        assert axis.get_xscale() == scale
        assert [label.get_text() for label in axis.get_xticklabels()] == ticks
        assert axis.get_xlabel() == "ε"
        low, high = axis.get_xlim()
        assert low < (100 if percent else 1) * min(values) <= (100 if percent else 1) * max(values) < high


def test_a_line_is_in_the_order_of_x_and_every_panel_has_a_zero_line() -> None:
    axis, _ = panels(results(entry("LR", "a", 3.0, 3.0), entry("LR", "a", 1.0, 1.0), entry("NN", "a", 2.0, -2.0)))
    assert y([line_of(bars(axis)[0])]) == [1.0, 3.0]
    for each in panels(FULL):
        low, high = each.get_ylim()
        assert low <= 0 <= high
        assert [0.0, 0.0] in [list(line.get_ydata()) for line in each.get_lines()]


def test_places_without_x_are_not_drawn() -> None:
    drawn = styled(results(entry("LR", CLEAN, None, 1.0), entry("LR", "a", 1.0, 2.0)))
    assert words(drawn) == ["a"]


def test_an_attack_looks_the_same_in_every_panel() -> None:
    _, second = panels(results(entry("LR", "a", 1.0, 1.0), entry("LR", "b", 1.0, 1.0), entry("NN", "b", 1.0, 1.0)))
    (line,) = [line_of(bar) for bar in bars(second) if len(line_of(bar).get_xdata())]
    assert (line.get_color(), line.get_marker()) == (PAPER.palette[1], MARKERS[1])


def test_lines_stay_apart_without_colour() -> None:
    """Of any two of the first five: marker and dashes differ, and the luma by 0.04; no two of all share a look."""
    luma = [
        sum(w * c for w, c in zip((0.299, 0.587, 0.114), to_rgb(colour), strict=True)) for colour in PAPER.palette[:5]
    ]
    assert min(abs(a - b) for a, b in itertools.combinations(luma, 2)) > 0.04
    assert len({str(dash) for dash in DASHES}) == 5
    looks = [(i % len(PAPER.palette), i % len(MARKERS)) for i in range(40)]
    assert len(set(looks)) == 40


def test_another_value_is_called_by_its_own_name() -> None:
    assert panels(FULL)[0].get_ylabel() == "drop, points"
    (axis,) = panels(results(entry("LR", "a", 1.0, 1.0, drop=5.0), shows=("acc2", "drop")))
    assert axis.get_ylabel() == "accuracy after attack and defense, percent"
    assert hollow(axis) == []


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("label", ["TGDA", HOSTILE, "a rather long label of an attack " * 3, "_" * 200], ids=len)
def test_texts_are_literal_on_the_page_and_apart(count: int, label: str) -> None:
    rows = [f"{label}{row}" for row in range(count)]
    columns = [f"{label} {column}" for column in range(5)]
    entries = [entry(row, column, x, 1.0, 2.0, drop=1.0) for row in rows for column in columns for x in (0.005, 1.0)]
    drawn = styled(results(*entries, title=label, x_label=label, percent=True))
    canvas = FigureCanvasAgg(drawn)
    canvas.draw()
    renderer = canvas.get_renderer()
    axes = [axis for axis in drawn.axes if axis.axison]
    shown = [*(axis.title for axis in axes), *(axis.xaxis.label for axis in axes), *drawn.legends[0].get_texts()]
    assert {text.get_text().replace("\n", "").replace(" ", "") for text in shown[:count]} == {
        row.replace(" ", "") for row in rows
    }
    boxes = [text.get_window_extent(renderer) for text in [*shown, *drawn.texts]]
    assert drawn.get_suptitle()
    for box in boxes:
        assert drawn.bbox.x0 <= box.x0 < box.x1 <= drawn.bbox.x1
        assert drawn.bbox.y0 <= box.y0 < box.y1 <= drawn.bbox.y1
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)
    plots = [axis.get_window_extent(renderer) for axis in axes]
    assert not any(box.overlaps(plot) for box in boxes for plot in plots)


@pytest.mark.parametrize("format_", FORMATS)
def test_hostile_labels_are_drawn(format_: str) -> None:
    found = results(entry(HOSTILE, "_" + HOSTILE, 1.0, 1.0), title=HOSTILE, x_label="$\\")
    assert draw(found, format_)
    assert words(styled(found)) == ["_" + HOSTILE]
    if format_ == "svg":
        assert b"<!-- $x_1 &lt;b&gt;&amp;amp; 50 % \\frac{ $" in draw(found, format_)


def test_a_study_of_filters_is_drawn_against_what_they_removed(planted: Any, tmp_path: Path) -> None:
    """By the records, whatever x was asked for; the figure has a panel for the drop, recall and precision each."""

    def removing(rows: int) -> Record:
        detail = {"removed": rows, "precision": 0.25, "recall": 0.5, "trusted": 0, "stats": {}}
        document = planted("tgda", defense="loss", defense_detail=detail).document()
        document["defense"]["params"] = {"fraction": rows / 1000}
        return Record.create(**{key: value for key, value in document.items() if key != "record_id"})

    study = studies.load("filters")
    entries = [Entry("TGDA", "Loss", x, (removing(rows),)) for x, rows in ((0.01, 10), (0.02, 500))]
    runner: Any = None  # of figures that need a store's artifacts
    write_files(study, results(*entries, shows=study.shows), tmp_path, runner)
    assert {path.suffix for path in tmp_path.iterdir()} == {".md", ".tex", ".csv", ".svg", ".png"}
    (curves,) = removal(record for each in entries for record in each.records)
    with drawing():
        above, recall, precision = fraction_figure.figure([curves]).axes
    rows = entries[0].records[0].dataset.n_train + entries[0].records[0].threat.n_poison
    for axis, height in ((recall, 0.5), (precision, 0.25)):
        (line,) = axis.get_lines()
        assert list(line.get_xdata()) == pytest.approx([100 * 10 / rows, 100 * 500 / rows])
        assert list(line.get_ydata()) == [height, height]
    assert [axis.get_ylabel() for axis in (above, recall, precision)] == ["points of accuracy", "recall", "precision"]
