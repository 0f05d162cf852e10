"""A table of numbers as a table of texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby, takewhile
from operator import itemgetter
from typing import Any

from poisonbench.counted import counted
from poisonbench.leaderboard.badges import NOTE, signed
from poisonbench.leaderboard.statistics.answers import SIGNS
from poisonbench.leaderboard.statistics.summaries import LEVEL
from poisonbench.leaderboard.tables.marks import Mark
from poisonbench.leaderboard.tables.measurements import Measurement
from poisonbench.leaderboard.tables.pivot import Table
from poisonbench.leaderboard.tables.sheets import Sheet, Span
from poisonbench.leaderboard.trust import Trust
from poisonbench.leaderboard.values import VALUES

SPREADS = {"std": "mean ± std (seeds)", "interval": "mean [95 % interval] (seeds)", "none": "mean (seeds)"}
"""What of the spread over seeds a table shows, and how a heading says so."""

_ACROSS = {"epsilon": "ε = {}", "seed": "seed {}", "surrogate": "on {}"}
"""How entries are named where no heading says what they are."""

_CONDITIONS = {**_ACROSS, "attack": "attack {}", "defense": "defense {}"}


def sheet(table: Table, spread: str = "std") -> Sheet:
    """The table as texts; several values are columns below each entry.

    Args:
        table: of one set of conditions.
        spread: a name in SPREADS.
    """
    labels = tuple("ε" if axis == "epsilon" else axis for axis in table.shape.rows)
    title, left = heading(table, spread), len(labels)
    if not table.measured:
        why = "No ranked record has such a value." if table.counted else "No ranked records."
        return Sheet(title, labels[:1], 1, ((why,),))
    columns = [(column, name) for column in table.columns for name in table.shape.values]
    rows, marks, groups = [], dict[tuple[int, int], Mark](), set[int]()
    for index, row in enumerate(table.rows):
        above = table.rows[index - 1] if index else ()
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(row, above, strict=False)))
        names = [table.names.label(*pair) for pair in zip(table.shape.rows, row, strict=True)]
        found = [table.measured.get((row, *position)) for position in columns]
        rows.append((*[""] * same, *names[same:], *(text(one, spread) for one in found)))
        marks |= {(index, left + at): one.mark for at, one in enumerate(found) if one and one.mark}
        groups |= {index} if left > 1 and not same else set()
    *over, last = _headings(table)
    headings = (*labels, *(span.text for span in last))
    notes, legend = tuple(_notes(table)), frozenset(_legend(table))
    return Sheet(title, headings, left, tuple(rows), frozenset(groups), notes, marks, tuple(over), legend)


def heading(table: Table, spread: str) -> str:
    """What the table compares, and what it left out."""
    conditions = [_named(_CONDITIONS, table, axis, entry) for axis, entry in table.conditions.items()]
    names = table.shape.values
    shown = [VALUES[names[0]].heading] if len(names) == 1 else []
    shown += [] if "seed" in table.shape.axes else [SPREADS[spread]]
    parts = ((table.unranked, "unranked"), (table.failed, "failed"), (table.other_seeds, "of other seeds"))
    left_out = [f"{n} {word}" for n, word in parts if n]
    tail = f"; left out: {', '.join(left_out)}" if left_out else ""
    return " · ".join([*conditions, *([", ".join(shown)] if shown else [])]) + tail


def text(one: Measurement | None, spread: str) -> str:
    """A measurement as text, such as "2.79 ± 0.07 (3)"; of one seed as an axis the number alone."""
    if one is None:
        return "–"
    decimals, found = VALUES[one.value].decimals, one.summary
    shown = _signed(found.mean, decimals)
    if one.seed is not None:
        return shown
    if spread == "std" and found.std is not None:
        shown += f" ± {found.std:.{decimals}f}"
    if spread == "interval" and one.interval is not None:
        shown += f" [{', '.join(_signed(bound, decimals) for bound in one.interval)}]"
    return signed(f"{shown} ({found.n})", one.mixed_code)


def _headings(table: Table) -> Iterator[tuple[Span, ...]]:
    """Lines of headings over the columns of numbers, the top one first."""
    axes, names = table.shape.columns, table.shape.values
    for level, axis in enumerate(axes):
        spans = []
        for entries, columns in groupby(table.columns, key=itemgetter(slice(level + 1))):
            spans.append(
                Span(_named(_ACROSS, table, axis, entries[-1]).replace(" (", "\n("), len([*columns]) * len(names))
            )
        yield tuple(spans)
    if len(names) > 1 or not axes:
        yield tuple(Span(name, 1) for _ in table.columns for name in names)


def _named(how: Mapping[str, str], table: Table, axis: str, entry: Any) -> str:
    return how.get(axis, "{}").replace("{}", table.names.label(axis, entry))


def _notes(table: Table) -> Iterator[str]:
    """What the columns are, and what marks mean."""
    shown = table.shape.values
    if len(shown) > 1:
        yield "; ".join(f"{name}: {VALUES[name].heading}" for name in shown) + "."
    yield from _trusting(table)
    yield from _legend(table)
    if any(one.mixed_code for one in table.measured.values()):
        yield NOTE


def _legend(table: Table) -> Iterator[str]:
    """What marks mean."""
    shown = table.shape.values
    marked = {one.value for one in table.measured.values() if one.mark}
    contests = [(name, contest) for name in shown if name in marked and (contest := table.shape.contest(name))]
    for competitor in dict.fromkeys(contest[0] for _, contest in contests):
        which = ", ".join(f"{better} {name}" for name, (rival, better) in contests if rival == competitor)
        images = all(name in SIGNS for name, (rival, _) in contests if rival == competitor)
        others = "other seeds and test images" if images else "other seeds, and of accuracies for other test images,"
        yield (
            f"Bold: the best {competitor} ({which}). Underlined: not told from it for {others} in the family of all "
            f"{competitor}s beside it ({100 * LEVEL:g} %). One setting a method, over the protocol's seeds; accuracies "
            "without answers by test image have neither."
            + (" Defenses with trusted data are a family of their own." if competitor == "defense" else "")
        )


def _trusting(table: Table) -> Iterator[str]:
    """The defenses that know more than the others, and how much more."""
    shown = {
        table.names.label("defense", one.experiment.defense): one.experiment.trusted
        for one in table.measured.values()
        if one.experiment.trust is Trust.WITH
    }
    if shown:
        rows = ", ".join(
            label if count is None else f"{label} ({counted(count, 'row')})" for label, count in shown.items()
        )
        yield f"{Trust.WITH.capitalize()}, clean rows that no attack changes: {rows}."


def _signed(number: float, decimals: int) -> str:
    return f"{number:z.{decimals}f}".replace("-", "−")
