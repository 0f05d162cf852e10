"""A study as a table: ours with its spread, the paper's as printed beside it."""

from __future__ import annotations

from collections.abc import Iterator

from poisonbench.leaderboard.statistics.intervals import described
from poisonbench.leaderboard.statistics.summaries import Summary
from poisonbench.leaderboard.studies.results import CLEAN, PRINTED, Entry, StudyResults
from poisonbench.leaderboard.tables.sheet_csv import csv_text
from poisonbench.leaderboard.tables.sheets import Sheet
from poisonbench.leaderboard.values import VALUES

_HEADINGS = {
    "acc1": "acc1 %", "acc2": "acc2 %", "drop": "drop", "attack-time": "attack", "undefended": "undefended",
    "clean-cost": "clean cost", "recall": "recall", "precision": "precision", "saved": "saved",
    "linf": "largest L∞",
}  # fmt: skip
_COLUMNS = (
    "study", "profile", "row", "column", "x", "value", "n", "mean", "std", "low", "high", "printed", "printed_std",
    "recomputed", "missing",
)  # fmt: skip
_SAME = 0.005
"""Half of the last digit that the paper prints."""

_HOUR = 3600.0


def sheet(results: StudyResults) -> Sheet:
    """A table with a line each place: mean ± sample standard deviation over n seeds, half the width of the mean's 95 %
    interval, and the paper's figures. Beside the drop, other values are means alone, so that it fits a terminal and a
    page."""
    curves = results.x_label is not None
    printed = any(entry.printed for entry in results.entries)
    headings = ["", ""] + ([results.x_label or ""] if curves else [])
    left = len(headings)
    for value in results.shows:
        headings += [_HEADINGS.get(value, value), "95 %"] if value == "drop" else [_HEADINGS.get(value, value)]
        headings += ["paper"] if printed and value in PRINTED else []
    headings.append("n")
    lines, groups, last = [], set(), None
    for index, entry in enumerate(results.entries):
        if entry.row != last:
            groups.add(index)
        line = [entry.row if entry.row != last else "", entry.column]
        last = entry.row
        line += [_x(entry.x, results.percent)] if curves else []
        for value in results.shows:
            shown = "acc1" if entry.column == CLEAN and value == "acc2" else value
            hidden = entry.column == CLEAN and value != "acc2"
            spread = None if hidden else entry.of(shown)
            found = spread.summary if spread else None
            line.append(_ours(found, value, value == "drop" or "drop" not in results.shows))
            line += [_half_interval(found)] if value == "drop" else []
            line += [_printed(entry, shown)] if printed and value in PRINTED else []
        seeds = len(entry.records)
        line.append(f"{seeds} of {seeds + entry.missing}" if entry.missing else str(seeds))
        lines.append(tuple(line))
    title = f"{results.title} ({results.name}, profile {results.profile})"
    return Sheet(title, tuple(headings), left, tuple(lines), frozenset(groups), _notes(results))


def as_csv(results: StudyResults) -> str:
    """A CSV with every number in full, a line for each place and value."""
    return csv_text(_COLUMNS, _lines(results))


def _lines(results: StudyResults) -> Iterator[list[object]]:
    for entry in results.entries:
        for value in ("acc1",) if entry.column == CLEAN else results.shows:
            spread = entry.of(value)
            found = spread.summary if spread else None
            low, high = (found.interval if found else None) or (None, None)
            printed = entry.printed.get(PRINTED.get(value, ""))
            if printed is not None and value == "attack-time":
                printed *= _HOUR
            beside = (entry.printed.get("drop-std"), entry.recomputed) if value == "drop" else (None, None)
            numbers = (found.n, found.mean, found.std) if found else (0, None, None)
            labels = (results.name, results.profile, entry.row, entry.column, entry.x, value)
            yield [*labels, *numbers, low, high, printed, *beside, entry.missing]


def _notes(results: StudyResults) -> tuple[str, ...]:
    notes = list(results.notes)
    if any(_differs(entry) for entry in results.entries):
        notes.append("In brackets: acc1 − acc2 of the accuracies that the paper prints, where its drop is another.")
    if any(entry.records for entry in results.entries):
        notes.append(
            f"± is the sample standard deviation over n seeds; 95 % is half the interval of the mean{_random(results)}."
        )
    return tuple(notes)


def _random(results: StudyResults) -> str:
    """What the intervals take for random, where there are any."""
    spreads = [entry.of("drop") for entry in results.entries if "drop" in results.shows]
    words = described(spread.random for spread in spreads if spread)
    return f" {words}" if words else ""


def _differs(entry: Entry) -> bool:
    printed = entry.printed.get("drop")
    return printed is not None and entry.recomputed is not None and abs(printed - entry.recomputed) > _SAME


def _x(x: float | None, percent: bool) -> str:
    return "" if x is None else f"{100 * x:g} %" if percent else f"{x:g}"


def _ours(found: Summary | None, value: str, spread: bool) -> str:
    if found is None:
        return "–"
    decimals, unit, length = VALUES[value].decimals, "", 1.0
    if value.endswith("-time"):
        unit, length = (" h", _HOUR) if found.mean >= _HOUR else (" s", 1.0)
    after = f"±{found.std / length:.{decimals}f}" if spread and found.std is not None else ""
    return f"{_signed(found.mean / length, decimals)}{after}{unit}"


def _half_interval(found: Summary | None) -> str:
    if found is None or found.interval is None:
        return "–"
    return f"±{found.interval[1] - found.mean:.2f}"


def _printed(entry: Entry, value: str) -> str:
    number = entry.printed.get(PRINTED[value])
    if number is None:
        return ""
    if value == "attack-time":
        return f"{number:g} h"
    spread = f"±{entry.printed['drop-std']:.2f}" if value == "drop" and "drop-std" in entry.printed else ""
    again = entry.recomputed if value == "drop" and _differs(entry) else None
    return f"{_signed(number, 2)}{spread}{'' if again is None else f'[{_signed(again, 2)}]'}"


def _signed(number: float, decimals: int) -> str:
    return f"{number:z.{decimals}f}".replace("-", "−")
