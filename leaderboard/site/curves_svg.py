"""A few lines as a figure in the page's colours, whose text keeps its size on a phone. Written out here, for there may
be thousands: matplotlib would take a thousand times as long."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from poisonbench.visible import visible

STYLES = ("one", "two", "three", "four")
"""Classes of the lines, in order; a figure has no more."""

_UNITS = 1000
"""Of the drawing, along either side."""


@dataclass(frozen=True)
class Line:
    """Points from left to right.

    Attributes:
        name: what they are of.
        x: where they are.
        y: their values; NaN makes a gap.
        ends: of each its interval, or None; empty for a line without.
        marked: whether each point is a dot.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    ends: Sequence[tuple[float, float] | None] = ()
    marked: bool = False


def figure(lines: Sequence[Line], title: str, caption: str, zero: bool = False) -> Markup:
    """A figure with a legend where there are two lines or more; empty without a point.

    Args:
        lines: at most four.
        title: what a screen reader says of it.
        caption: below it.
        zero: whether zero is on the axis of values.
    """
    xs = [x for line in lines for x in line.x]
    ys = [y for line in lines for y in (*line.y, *(end for ends in line.ends if ends for end in ends))]
    ys = [y for y in ys if math.isfinite(y)] + [0.0] * zero
    if not xs or not ys:
        return Markup()
    low, high = min(ys), max(ys)
    spare = 0.06 * ((high - low) or abs(high) or 1.0)
    across, up = _Axis(min(xs), max(xs)), _Axis(low - spare, high + spare)
    grid = "".join(
        f'<line class="grid" x2="100%" y1="{100 - at:.4g}%" y2="{100 - at:.4g}%"/>'
        f'<text x="-6" y="{100 - at:.4g}%" dy="0.35em" text-anchor="end">{text}</text>\n'
        for at, text in up.ticks()
    )
    ticks = "".join(
        f'<text x="{at:.4g}%" y="100%" dy="1.4em" text-anchor="middle">{text}</text>\n' for at, text in across.ticks()
    )
    drawn = "".join(_drawn(line, style, across, up) for line, style in zip(lines, STYLES, strict=False))
    legend = "".join(
        f'<span class="legend"><svg class="curve-key" aria-hidden="true" focusable="false">'
        f'<path class="{style}" d="M0 5H24"/></svg> {escape(visible(line.name))}</span> '
        for line, style in zip(lines, STYLES, strict=False)
        if len(lines) > 1
    )
    return Markup(  # noqa: S704 (numbers, and texts that are escaped)
        f'<figure class="plot"><svg class="curve lines" role="img"><title>{escape(visible(title))}</title>\n'
        f'{grid}{ticks}<svg width="100%" height="100%" viewBox="0 0 {_UNITS} {_UNITS}" preserveAspectRatio="none">'
        f"{drawn}</svg></svg>\n"
        f"<figcaption>{legend}{escape(visible(caption))}</figcaption></figure>\n"
    )


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float

    def at(self, value: float) -> float:
        """Where on it a value is, from 0 to 1."""
        return (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5

    def ticks(self) -> Iterator[tuple[float, str]]:
        """Round numbers on it, three to six: where they are in percent, and their texts."""
        span = (self.high - self.low) or 1.0
        power = 10.0 ** math.floor(math.log10(span / 4))
        step = next(one * power for one in (1, 2, 5, 10) if span / (one * power) <= 6)
        for index in range(math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9) + 1):
            yield 100 * self.at(index * step), f"{index * step:.4g}".replace("-", "−")


def _drawn(line: Line, style: str, across: _Axis, up: _Axis) -> str:
    path, dots, spans, pen = "", "", "", "M"
    for index, (x, y) in enumerate(zip(line.x, line.y, strict=True)):
        if not math.isfinite(y):
            pen = "M"
            continue
        column, row = f"{_UNITS * across.at(x):.0f}", f"{_UNITS * (1 - up.at(y)):.0f}"
        path += f"{pen}{column} {row}"
        pen = "L"
        dots += f"M{column} {row}h0" if line.marked else ""
        if line.ends and (ends := line.ends[index]):
            low, high = (f"{_UNITS * (1 - up.at(end)):.0f}" for end in ends)
            spans += f"M{column} {low}V{high}"
    every = ((style, path), (f"{style} spans", spans), (f"{style} dots", dots))
    return "".join(f'<path class="{name}" vector-effect="non-scaling-stroke" d="{d}"/>' for name, d in every if d)
