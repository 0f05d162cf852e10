"""Certified accuracy against the number of rows: a step line each defense, from 0 to where nothing is proven."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from poisonbench.leaderboard.badges import NOTE
from poisonbench.leaderboard.plots.certified import Certificates, Proof
from poisonbench.leaderboard.plots.figure_text import DOT, TEXT, lines, number, seeds, wrapped
from poisonbench.leaderboard.plots.figures import PAPER, WIDTH, Look, drawing, encode
from poisonbench.leaderboard.plots.legend import legend_below

MOST = 14
"""More lines than this are not told apart."""

_HEIGHT = 2.6
_FAR = 1.6
"""How much longer the axis may become for the attack's rows to be on it; farther off, an arrow says where they are."""

_MARKED = 8
"""Markers along a line, for those who do not see its colour."""


def draw(found: Certificates, format_: str, look: Look = PAPER) -> bytes:
    """The figure as a file of that format, one of FORMATS; 6.5 inches wide. The same certificates give the same
    bytes."""
    with drawing(look):
        return encode(figure(found, look), format_, describe(found), look)


def describe(found: Certificates) -> str:
    """The figure in a sentence."""
    every = "; ".join(
        f"{proof.label} proves {number(proof.at(0).mean)} percent without any, {number(proof.at(found.budget).mean)} "
        f"against the attack's {found.budget}" + ("" if proof.half is None else f", and half up to {proof.half}")
        for proof in found.proofs
    )
    return (
        f"Certified accuracy against the number of rows added or taken on {found.title}: {every}. With no defense and "
        f"no poison accuracy is {number(found.clean)} percent, of which nothing is proven."
    )


def figure(found: Certificates, look: Look = PAPER) -> Figure:
    """The figure, in whichever style is set."""
    title = "\n".join(wrapped(part, WIDTH - 0.8) for part in (f"Certified accuracy · {found.title}", _note(found)))
    drawn = Figure(layout="constrained")
    drawn.suptitle(title, fontsize=8)
    axis = drawn.subplots()
    reach = max(1, found.reach)
    near = found.budget <= _FAR * reach
    right = 1.04 * max(reach, found.budget if near else 0)
    faint: dict[str, Any] = {"color": look.ink, "alpha": 0.6, "linewidth": 0.8}
    axis.axhline(found.clean, linestyle="--", **faint)
    handles = []
    for index, proof in enumerate(found.proofs):
        _line(axis, proof, right, index, look)
        handles.append(Line2D([], [], label=proof.label, linewidth=1, markersize=3.5, **look.line(index)))
    handles.append(Line2D([], [], label="no defense, no poison (nothing proven)", linestyle="--", **faint))
    if near:
        axis.axvline(found.budget, linestyle=":", **faint)
        handles.append(Line2D([], [], label=f"the attack's {found.budget:,} rows", linestyle=":", **faint))
    else:
        words: dict[str, Any] = {"ha": "right", "va": "top", "alpha": 0.8}
        axis.text(0.99, 0.97, f"the attack's {found.budget:,} rows →", transform=axis.transAxes, **words)
    axis.set_xlim(0, right)
    axis.set_ylim(0, 100)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel("rows that anyone adds or takes")
    axis.set_ylabel("certified accuracy, percent")
    axis.spines[["top", "right"]].set_visible(False)
    texts = lines(title) + legend_below(drawn, handles)
    drawn.set_size_inches(WIDTH, _HEIGHT + texts * TEXT)
    return drawn


def _line(axis: Axes, proof: Proof, right: float, index: int, look: Look) -> None:
    """Draw the mean, and a band from the smallest seed to the largest, to the right end of the axis."""
    x, table = [*proof.rows, right], np.array(proof.accuracy)
    table = np.column_stack([table, table[:, -1]])
    every = math.ceil(len(x) / _MARKED)
    look_of = look.line(index)
    marks: dict[str, Any] = {"linewidth": 1, "markersize": 3.5, "markevery": [*range(index % every, len(x) - 1, every)]}
    axis.plot(x, table.mean(axis=0), drawstyle="steps-post", clip_on=False, **look_of, **marks)
    if len(table) > 1:
        band: dict[str, Any] = {"step": "post", "color": look_of["color"], "alpha": 0.15, "linewidth": 0}
        axis.fill_between(x, table.min(axis=0), table.max(axis=0), **band)


def _note(found: Certificates) -> str:
    counts = [len(proof.accuracy) for proof in found.proofs]
    parts = [f"mean of {seeds(counts)}"]
    parts += ["band from the smallest to the largest"] if max(counts) > 1 else []
    parts += [NOTE] if any(proof.mixed_code for proof in found.proofs) else []
    return DOT.join(parts)
