"""Traces: what is taken from a record, how loops and seeds are joined, and how it is drawn."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from poisonbench.leaderboard.boards import boards
from poisonbench.leaderboard.plots import figures
from poisonbench.leaderboard.plots.figures import FORMATS, SITE, drawing
from poisonbench.leaderboard.plots.training import Traces, traces
from poisonbench.leaderboard.plots.training_figure import describe, draw, figure
from poisonbench.store.record import Record

Planted = Callable[..., Record]


def of(*records: Record) -> Traces | None:
    (board,) = boards(records)
    return traces(board)


def some(*records: Record) -> Traces:
    found = of(*records)
    assert found is not None
    return found


def traced(trace: Any) -> dict[str, Any]:
    return {"attack_stats": {"trace": trace}}


LOOP = {"step": [5, 10, 20], "loss": [1.0, 2.0, 3.0], "accuracy": [90.0, None, 70.0]}


def test_steps_are_percent_and_accuracy_comes_first(planted: Planted) -> None:
    found = some(planted(**traced({"outer": {**LOOP, "odd": [1, 2, 3]}})))
    assert list(found.measures) == ["accuracy", "loss", "odd"]
    ((steps, values),) = found.measures["accuracy"]["tgda"]
    assert steps.tolist() == [25.0, 50.0, 100.0]
    assert values.tolist() == [90.0, pytest.approx(math.nan, nan_ok=True), 70.0]
    assert list(found.only(("loss", "none", "accuracy")).measures) == ["loss", "accuracy"]


def test_loops_of_a_measure_stand_one_after_the_other_with_a_gap(planted: Planted) -> None:
    loops = {f"part {k} of 10": {"step": [5, 10], "loss": [k, k]} for k in (10, 2, 1)}
    ((steps, values),) = some(planted(**traced(loops))).measures["loss"]["tgda"]
    assert steps.tolist() == pytest.approx([100 * x / 30 for x in (5, 10, 10, 15, 20, 20, 25, 30)])
    assert np.nan_to_num(values, nan=-1).tolist() == [1, 1, -1, 2, 2, -1, 10, 10]


def test_each_seed_counts_once_whatever_the_defense(planted: Planted) -> None:
    other = {"step": [1, 2], "loss": [9.0, 9.0]}
    records = [
        planted(seed=0, defense="sever", **traced({"a": other})),
        planted(seed=0, **traced({"a": {"step": [1, 2], "loss": [1.0, 2.0]}})),
        planted(seed=1, defense="sever", **traced({"a": {"step": [1, 2], "loss": [3.0, 4.0]}})),
        planted(seed=2),
        planted(seed=3, protocol={**planted().document()["protocol"], "deviations": ["x"]}, **traced({"a": other})),
        planted(seed=4, drop=None, **traced({"a": other})),
    ]
    curves = some(*records).measures["loss"]["tgda"]
    assert [values.tolist() for _, values in curves] == [[1.0, 2.0], [3.0, 4.0]]


@pytest.mark.parametrize(
    "trace",
    [
        "text", [], {}, {"a": None}, {"a": {"loss": [1, 2]}}, {"a": {"step": [1, 2], "loss": [1]}},
        {"a": {"step": [2, 1], "loss": [1, 2]}}, {"a": {"step": [0], "loss": [1]}},
        {"a": {"step": [1, "2"], "loss": [1, 2]}}, {"a": {"step": [1, 2], "loss": [True, 2]}},
        {"a": {"step": [1, 2], "loss": [None, 2]}}, {"a": {"step": "12", "loss": [1, 2]}},
        {"a": {"step": [-1, 2], "loss": [1, 2]}}, {"a": {"step": [1, None], "loss": [1, 2]}},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_trace_is_left_out(planted: Planted, trace: Any) -> None:
    assert of(planted(**traced(trace))) is None


def drawn_of(found: Traces) -> Any:
    with drawing():
        return figure(found)


def test_a_mean_with_a_band_and_seeds_of_other_steps_as_they_are(planted: Planted) -> None:
    low, high = ({"step": [1, 2], "loss": [x, x + 1]} for x in (1.0, 3.0))
    together = some(planted(seed=0, **traced({"a": low})), planted(seed=1, **traced({"a": high})))
    (axis,) = drawn_of(together).axes
    (line,) = axis.get_lines()
    assert list(line.get_ydata()) == [2.0, 3.0]
    (band,) = axis.collections
    assert (band.get_paths()[0].vertices[:, 1].min(), band.get_paths()[0].vertices[:, 1].max()) == (1.0, 4.0)
    assert "thin" not in drawn_of(together).get_suptitle()
    apart = some(
        planted(seed=0, **traced({"a": low})), planted(seed=1, **traced({"a": {"step": [1, 3], "loss": [1.0, 2.0]}}))
    )
    (axis,) = drawn_of(apart).axes
    assert [list(line.get_ydata()) for line in axis.get_lines()] == [[1.0, 2.0], [1.0, 2.0]]
    assert not axis.collections
    assert "n = 2 seeds" in drawn_of(apart).get_suptitle()
    assert "thin" in drawn_of(apart).get_suptitle()


def test_a_panel_each_measure_and_a_line_each_attack_alike(planted: Planted) -> None:
    tiny = {"step": [1, 2, 3], "residual": [1.0, 1e-3, 1e-6]}
    found = some(planted("b", **traced({"x": LOOP})), planted("a", **traced({"x": tiny, "y": LOOP})))
    drawn = drawn_of(found)
    accuracy, loss, residual = (axis for axis in drawn.axes if axis.axison)
    assert [axis.get_ylabel() for axis in (accuracy, residual)] == ["accuracy on D_v, percent", "residual"]
    assert (accuracy.get_yscale(), residual.get_yscale()) == ("linear", "log")
    assert [line.get_color() for line in loss.get_lines()] == [line.get_color() for line in accuracy.get_lines()]
    assert [text.get_text() for text in drawn.legends[0].get_texts()] == ["a", "b"]
    assert describe(found).endswith("2 lines; accuracy ends lowest under a, 70.00 percent.")
    FigureCanvasAgg(drawn).draw()
    for text in drawn.legends[0].get_texts():
        box = text.get_window_extent()
        assert drawn.bbox.x0 <= box.x0 < box.x1 <= drawn.bbox.x1
        assert not any(box.overlaps(axis.get_window_extent()) for axis in (accuracy, loss, residual))


@pytest.mark.parametrize("format_", FORMATS)
def test_the_same_traces_give_the_same_bytes_and_names_stay_text(
    planted: Planted, format_: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = {"x": {**LOOP, "<script>$": [1, 2, 3]}}
    found = some(planted("a", **traced(trace)), planted("a", params={"x": "<script>$_{"}, **traced(trace)))
    monkeypatch.setattr(figures, "DPI", 50)
    first, again = (draw(found, format_, SITE) for _ in range(2))
    assert first == again
    assert format_ != "svg" or b"<script" not in first
