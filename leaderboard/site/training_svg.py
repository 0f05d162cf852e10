"""How accuracy moved while the victim was trained, and what the attack measured while it ran."""

from __future__ import annotations

from functools import lru_cache

from markupsafe import Markup

from poisonbench.leaderboard.plots.training import KNOWN, curves
from poisonbench.leaderboard.site.curves_svg import Line, figure
from poisonbench.leaderboard.site.gallery import poison_of
from poisonbench.leaderboard.site.numbers import points
from poisonbench.leaderboard.site.record_facts import table
from poisonbench.leaderboard.values import best_epoch, last_quarter, undefended
from poisonbench.store.record import Record

_MOST = 6
"""Measures of an attack that are drawn."""


def trajectory(record: Record) -> Markup:
    """A section with both accuracies by epoch and what the drop is by other rules than the last epoch; empty if the
    record has no trajectory."""
    found = record.trajectories
    if found is None or len(found.epochs) < 2:
        return Markup()
    drops = (points(undefended(record)), points(last_quarter(record)), points(best_epoch(record)))
    return _trajectory(found.epochs, found.clean, found.poisoned, drops)


@lru_cache(maxsize=4096)  # a poison set's records share it
def _trajectory(
    epochs: tuple[int, ...], clean: tuple[float, ...], poisoned: tuple[float, ...], drops: tuple[str, str, str]
) -> Markup:
    rows = tuple(zip(("at the end", "mean of the last quarter", "best epoch of each"), drops, strict=True))
    drawing = figure(
        (Line("on the poisoned set", epochs, poisoned), Line("on clean data", epochs, clean)),
        f"Test accuracy by epoch: {clean[-1]:.2f} percent at the end, {poisoned[-1]:.2f} on the poisoned set.",
        "Test accuracy in percent by epoch, without a defense.",
    )
    tables = table("Drop without a defense", rows)
    return Markup("<h2>During training</h2>\n{}<div class=facts>{}</div>\n").format(drawing, tables)


class Traces:
    """Makes a section with a figure of each measure that an attack took. Records of a poison set have the same traces,
    which are drawn once."""

    def __init__(self) -> None:
        self._drawn: dict[str, tuple[object, Markup]] = {}

    def of(self, record: Record) -> Markup:
        """The section; empty if the attack took none."""
        trace, poison = record.attack_stats.get("trace"), poison_of(record)
        if not isinstance(trace, dict):
            return Markup()
        known = self._drawn.get(poison)
        if known is None or known[0] != trace:  # anybody may claim a poison set of somebody else's
            known = self._drawn[poison] = trace, _traces(trace)
        return known[1]


def _traces(trace: object) -> Markup:
    made = curves(trace)
    order = sorted(made, key=lambda one: (KNOWN.index(one) if one in KNOWN else len(KNOWN), one))
    drawn = [
        figure(
            (Line(name, steps.tolist(), values.tolist()),),
            f"{_words(name)} while the attack ran",
            f"{_words(name)}, by percent of its steps",
        )
        for name in order[:_MOST]
        for steps, values in (made[name],)
    ]
    if not drawn:
        return Markup()
    return Markup('<h2>While the attack ran</h2>\n<div class="charts">{}</div>\n').format(Markup().join(drawn))


def _words(measure: str) -> str:
    return measure.replace("_", " ")
