"""The curve of one certificate as a figure. Written out here, where matplotlib would take a thousand times as long:
there may be a record of each of thousands of certificates. Its text keeps its size on a phone."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from markupsafe import Markup

from poisonbench.leaderboard.plots.figure_text import number
from poisonbench.leaderboard.site.numbers import rows
from poisonbench.leaderboard.values import attacked_rows
from poisonbench.store.record import Record
from poisonbench.store.record_results import Certified

_FAR = 1.6
"""How much longer the axis may become for the attack's rows to be on it, as in the board's figure."""

_TICKS = 6


def certified_curve(record: Record) -> Markup:
    """A section with what the record's defense proves, against the number of rows; empty if it proves nothing."""
    metrics = record.metrics
    if metrics is None or metrics.certified is None or metrics.acc1_padded is None:
        return Markup()
    return _drawn(metrics.certified, metrics.acc1_padded, attacked_rows(record))


@lru_cache(maxsize=4096)  # an attack changes nothing of what is proven: its records share the curve
def _drawn(curve: Certified, clean: float, budget: int) -> Markup:
    starts, accuracy, reach = curve.rows, curve.accuracy, max(1, curve.rows[-1])
    near = budget <= _FAR * reach
    right = 1.04 * max(reach, budget if near else 0)
    steps = "".join(f"H{start}V{100 - value:g}" for start, value in zip(starts[1:], accuracy[1:], strict=True))
    grid = "".join(
        f'<line class="grid" x2="100%" y1="{100 - value}%" y2="{100 - value}%"/>'
        f'<text x="-6" y="{100 - value}%" dy="0.35em" text-anchor="end">{value}</text>\n'
        for value in range(0, 101, 20)
    )
    ticks = "".join(
        f'<text x="{100 * tick / right:.4g}%" y="100%" dy="1.4em" text-anchor="middle">{rows(tick)}</text>\n'
        for tick in _ticks(right)
    )
    at = f"{100 * budget / right:.4g}%"
    mark = f'<line class="budget" x1="{at}" x2="{at}" y2="100%"/>\n' if near else ""
    where = (
        f"Dotted: the attack’s {rows(budget)} rows" if near else f"The attack’s {rows(budget)} rows are farther right"
    )
    title = (
        f"Certified accuracy against the number of rows added or taken: {number(accuracy[0])} percent without any, "
        f"{number(curve.at(budget))} against the attack’s {rows(budget)}, {number(accuracy[-1])} from {rows(reach)} on."
    )
    return Markup(  # noqa: S704 (numbers and nothing else)
        f'<h2>Certified accuracy</h2>\n<figure class="plot"><svg class="curve" role="img"><title>{title}</title>\n'
        f'{grid}{ticks}<line class="clean" x2="100%" y1="{100 - clean:g}%" y2="{100 - clean:g}%"/>\n{mark}'
        f'<svg width="100%" height="100%" viewBox="0 0 {right:g} 100" preserveAspectRatio="none">'
        f'<path vector-effect="non-scaling-stroke" d="M0,{100 - accuracy[0]:g}{steps}H{right:g}"/></svg></svg>\n'
        f"<figcaption>Percent of the test images that this defense answers right on clean data and is proven to answer "
        f"so, whatever rows anyone adds or takes, against their number. {where}; dashed: accuracy with no defense and "
        f"no poison, {number(clean)} %, of which nothing is proven.</figcaption></figure>\n"
    )


def _ticks(right: float) -> Iterator[int]:
    """Round numbers from 0 on, at most six of them besides."""
    step = next(one * 10**power for power in range(20) for one in (1, 2, 5) if right <= _TICKS * one * 10**power)
    yield from range(0, int(right) + 1, step)
