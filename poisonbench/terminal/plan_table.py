"""The plan of a sweep as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from poisonbench.counted import counted
from poisonbench.terminal.clock import clock
from poisonbench.terminal.fitted import Column, Fitted

if TYPE_CHECKING:
    from poisonbench.sweeps.estimate import Cost
    from poisonbench.sweeps.plan import Planned


def plan_table(planned: Sequence[Planned], costs: Mapping[str, Cost]) -> Fitted:
    """A table with a row for each experiment: its seeds by what the store has of them, and what the rest will take."""
    rows = []
    groups: dict[str, list[Planned]] = {}
    for part in planned:
        groups.setdefault(part.cell.title.rpartition(" · ")[0], []).append(part)
    for name, parts in groups.items():
        due = [part for part in parts if part.due]
        there = Counter(part.found for part in parts if part.found != "missing")
        known = ", ".join(f"{count} {status}" for status, count in there.items())
        found = [costs[part.cell.hash()] for part in due]
        texts = name, str(len(parts)), known or "–", str(len(due)), _seconds(found), _memory(found)
        rows.append(list(map(Text, texts)))
    headings = ("seeds", "in store", "to run", "time", "memory")
    return Fitted([Column("experiment"), *(Column(heading, "right") for heading in headings)], rows)


def plan_totals(planned: Sequence[Planned], costs: Mapping[str, Cost]) -> str:
    """The totals of a plan in a sentence or two."""
    due = [part for part in planned if part.due]
    found = [costs[part.cell.hash()] for part in due]
    unknown = sum(cost.seconds is None for cost in found)
    failed = sum(part.found not in ("ok", "missing") and not part.due for part in planned)
    time = f": {_seconds(found)} on one worker" if due else ""
    lines = [f"{counted(len(planned), 'cell')}, {len(due)} to run{time}"]
    if unknown:
        lines.append(f"{unknown} of them have an attack or defense that no record tells the time of")
    if failed:
        lines.append(f"{failed} failed before and are left; --retry failed,timeout,oom runs them")
    return "; ".join(lines) + "."


def _seconds(costs: Sequence[Cost]) -> str:
    known = [cost.seconds for cost in costs if cost.seconds is not None]
    if not costs:
        return "–"
    if not known:
        return "?"
    return f"{'at least ' if len(known) < len(costs) else 'about '}{clock(sum(known))}"


def _memory(costs: Sequence[Cost]) -> str:
    peaks = [cost.memory_mb for cost in costs if cost.memory_mb is not None]
    return f"{max(peaks) / 1024:.1f} GiB" if peaks else "–"
