"""Numbers as pages show them: a typographic minus, none before zero, an en dash for what is not there."""

from __future__ import annotations

from poisonbench.leaderboard.statistics.summaries import Summary

MISSING = "–"


def points(value: float | None, decimals: int = 2) -> str:
    """A number of percent or points."""
    if value is None:
        return MISSING
    text = f"{abs(value):.{decimals}f}"
    return f"−{text}" if value < 0 and float(text) else text


def rows(value: int | None) -> str:
    """A number of rows."""
    return MISSING if value is None else f"{value:,}"


def half(summary: Summary | None) -> str:
    """Half of the 95 % interval; empty if there is none."""
    if summary is None or summary.interval is None:
        return ""
    return points((summary.interval[1] - summary.interval[0]) / 2)


def mean(summary: Summary | None) -> str:
    """The mean with half of its 95 % interval."""
    if summary is None:
        return MISSING
    return f"{points(summary.mean)} ± {half(summary)}" if summary.interval else points(summary.mean)


def ends(summary: Summary | None) -> str:
    """The ends of the 95 % interval, such as "[1.20, 3.40]"; empty if there is none."""
    if summary is None or summary.interval is None:
        return ""
    return f"[{', '.join(map(points, summary.interval))}]"


def seconds(value: float | None) -> str:
    """A time: 0.7 ms, 0.42 s, 12 s, 12 min, 3.4 h."""
    if value is None:
        return MISSING
    if 0 < value < 0.1:
        return f"{1000 * value:.1f} ms"
    if value < 10:
        return f"{value:.2f} s"
    if value < 100:
        return f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 6000 else f"{value / 3600:.1f} h"


def mebibytes(value: float | None) -> str:
    """A peak of memory."""
    return MISSING if value is None else f"{value:,.0f} MiB"


def size(count: int) -> str:
    """A number of bytes."""
    for unit, factor in (("MiB", 2**20), ("KiB", 2**10)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} B"


def exact(value: object) -> str:
    """A setting as it was given."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
