"""Accuracy and losses while attacks ran: a panel each measure, a line each attack."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from poisonbench.counted import counted
from poisonbench.leaderboard.badges import NOTE
from poisonbench.leaderboard.plots.figure_text import TEXT, lines, name, number, seeds, wrapped
from poisonbench.leaderboard.plots.figures import PAPER, WIDTH, Look, drawing, encode
from poisonbench.leaderboard.plots.legend import legend_below
from poisonbench.leaderboard.plots.training import Curve, Traces

MOST = 14
"""More lines than this are not told apart."""

MOST_MEASURES = 12
"""More panels do not fit a page."""

_ACROSS = 2
_HEIGHT = 1.9
_MARKED = 6
"""Markers along a line, for those who do not see its colour."""

_LABELS = {
    "accuracy": "accuracy on D_v, percent",
    "expected_accuracy": "expected accuracy, percent",
    "validation_loss": "loss on D_v",
    "loss": "the attack's own loss",
}


def draw(found: Traces, format_: str, look: Look = PAPER) -> bytes:
    """The figure as a file of that format, one of FORMATS; 6.5 inches wide. The same traces give the same bytes."""
    with drawing(look):
        return encode(figure(found, look), format_, describe(found), look)


def describe(found: Traces) -> str:
    """The figure in a sentence."""
    measures = ", ".join(name(measure).replace("_", " ") for measure in found.measures)
    ends = found.measures.get("accuracy", {})
    last = {label: float(np.mean([_last(curve) for curve in curves])) for label, curves in ends.items()}
    least = min(last, key=lambda label: last[label], default=None)
    end = f"; accuracy ends lowest under {least}, {number(last[least])} percent" if least else ""
    count = counted(len(found.labels), "line")
    return f"{measures.capitalize()} during the attack on {found.title}, {count}{end}."


def figure(found: Traces, look: Look = PAPER) -> Figure:
    """The figure, in whichever style is set."""
    across = min(len(found.measures), _ACROSS)
    bands = math.ceil(len(found.measures) / across)
    title = "\n".join(wrapped(part, WIDTH - 0.8) for part in (f"During the attack · {found.title}", _note(found)))
    drawn = Figure(layout="constrained")
    drawn.suptitle(title, fontsize=8)
    axes = drawn.subplots(bands, across, squeeze=False).flatten()
    for axis in axes[len(found.measures) :]:
        axis.axis("off")
    for axis, (measure, curves) in zip(axes, found.measures.items(), strict=False):
        for index, label in enumerate(found.labels):
            _line(axis, curves.get(label, ()), index, look)
        _y_axis(axis, [curve for several in curves.values() for curve in several], measure)
        axis.set_xlim(-2, 102)
        axis.set_xlabel("progress, percent of the steps")
        axis.set_ylabel(wrapped(_LABELS.get(measure, name(measure).replace("_", " ")), _HEIGHT))
    handles = [
        Line2D([], [], label=label, linewidth=1, markersize=3.5, **look.line(index))
        for index, label in enumerate(found.labels)
    ]
    texts = lines(title) + legend_below(drawn, handles)
    drawn.set_size_inches(WIDTH, bands * (_HEIGHT + TEXT) + texts * TEXT)
    return drawn


def _line(axis: Axes, curves: Sequence[Curve], index: int, look: Look) -> None:
    """Draw the mean with a band from the smallest seed to the largest, where their steps are the same; else every
    seed."""
    line = look.line(index)
    every = max((math.ceil(len(steps) / _MARKED) for steps, _ in curves), default=1)
    marks: dict[str, Any] = {"linewidth": 1, "markersize": 3.5, "markevery": (index % every, every)}
    if not _together(curves):
        for steps, values in curves:
            axis.plot(steps, values, **line, **{**marks, "linewidth": 0.6})
        return
    steps, table = curves[0][0], np.array([values for _, values in curves])
    axis.plot(steps, table.mean(axis=0), **line, **marks)
    if len(table) > 1:
        axis.fill_between(steps, table.min(axis=0), table.max(axis=0), color=line["color"], alpha=0.15, linewidth=0)


def _y_axis(axis: Axes, curves: Sequence[Curve], measure: str) -> None:
    """Make the y axis logarithmic if all of it is positive and spans two decades; accuracy never is."""
    values = np.concatenate([values[np.isfinite(values)] for _, values in curves])
    if measure != "accuracy" and values.min() > 0 and values.max() > 100 * values.min():
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
        axis.yaxis.set_minor_locator(NullLocator())


def _note(found: Traces) -> str:
    several = [curves for lines in found.measures.values() for curves in lines.values()]
    apart = not all(map(_together, several))
    parts = [f"mean of {seeds([*map(len, several)])}, band from the smallest to the largest"]
    parts += ["thin: seeds whose steps differ"] if apart else []
    return "; ".join([*parts, *([NOTE] if found.mixed_code else [])])


def _together(curves: Sequence[Curve]) -> bool:
    """Whether their steps are the same."""
    return len({steps.tobytes() for steps, _ in curves}) == 1


def _last(curve: Curve) -> float:
    values = curve[1][np.isfinite(curve[1])]
    return float(values[-1])
