"""The table at the end of a run of several experiments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from poisonbench.leaderboard.badges import NOTE
from poisonbench.leaderboard.experiments import experiments
from poisonbench.leaderboard.glance import glance, left_out
from poisonbench.store.record import Record
from poisonbench.terminal.fitted import Column, Fitted

_HEADINGS = {"acc1": "acc1 %", "acc2": "acc2 %"}
_WORDS = ("experiment", "protocol", "model")


def grid_table(records: Sequence[Record]) -> RenderableType:
    """A row an experiment, in the order in which they were asked for: mean ± standard deviation over seeds. Conditions
    that all have in common stand above it."""
    order = {record.record_id: index for index, record in enumerate(records)}
    found = sorted(experiments(records), key=lambda experiment: order[experiment.first.record_id])
    rows = [glance(experiment) for experiment in found]
    common = [name for name in ("protocol", "model", "ε") if len({row[name] for row in rows}) == 1]
    shared = " · ".join(f"ε = {rows[0][name]}" if name == "ε" else rows[0][name] for name in common)
    shown = [name for name in rows[0] if name not in common]
    columns = [Column(_HEADINGS.get(name, name), "left" if name in _WORDS else "right") for name in shown]
    labels = sum(name in _WORDS for name in shown)
    table = Fitted(columns, [[Text(row[name]) for name in shown] for row in rows], labels)
    mixed = [NOTE] if any(experiment.mixed_code for experiment in found) else []
    remarks = (Text(line, style="yellow") for line in (*mixed, *left_out(found), *_unranked(records)))
    return Group(*([Text(shared)] if shared else []), table, *remarks)


def _unranked(records: Sequence[Record]) -> Iterator[str]:
    for deviations in dict.fromkeys(record.protocol.deviations for record in records if not record.ranked):
        yield f"Unranked: {'; '.join(deviations) or 'the protocol is a file of your own'}."
