"""The panel at the end of a run."""

from __future__ import annotations

from statistics import mean, stdev
from typing import TYPE_CHECKING

from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from poisonbench.store.record import Record

if TYPE_CHECKING:
    from poisonbench.runner import Outcome

_HEADINGS = ("seed", "acc1 %", "acc2 %", "drop", "removed", "prec.", "recall", "attack", "total", "memory")


def results_panel(outcomes: list[Outcome]) -> Panel:
    """One experiment over its seeds: accuracies, drop, what the defense removed, time and memory."""
    records = [outcome.record for outcome in outcomes]
    first = records[0]
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in _HEADINGS:
        table.add_column(heading, justify="right", no_wrap=True)
    for record in records:
        table.add_row(*_row(record))
    good = [record for record in records if record.metrics]
    if len(good) > 1:
        table.add_section()
        for row in _summary(good):
            table.add_row(*row, style="bold")
    lines: list[Text | Table] = [_what(first), Text(), table, Text(), _source(outcomes)]
    if not first.ranked:
        reason = "; ".join(first.protocol.deviations) or "the protocol is a file of your own"
        lines.append(Text(f"Unranked: {reason}.", style="yellow"))
    lines.append(Text(f"Records {' '.join(record.record_id for record in records)}", style="dim"))
    return Panel(Group(*lines), title=f"{first.attack.name} against {first.defense.name}", expand=False)


def _what(record: Record) -> Text:
    threat, data = record.threat, record.dataset
    crafted = f", crafted on {record.surrogate}" if record.surrogate else ""
    return Text(
        f"{record.protocol.name} · {data.name}, {data.n_train} to train, {data.n_val} to validate, "
        f"{data.n_test} to test · {record.model.name}{crafted} · ε = {threat.epsilon:g}: {threat.n_poison} points, "
        f"{'clean' if threat.clean_label else 'dirty'} label"
    )


def _row(record: Record) -> list[str]:
    timing, memory, metrics = record.timing, record.memory, record.metrics
    if metrics is None:
        return [str(record.seeds.run), f"[red]{record.status}"]
    return [
        str(record.seeds.run),
        f"{metrics.acc1:.2f}",
        f"{metrics.acc2:.2f}",
        f"{metrics.drop:.2f}",
        *_removed(record),
        "–" if timing.attack_s is None else f"{timing.attack_s:.1f} s",
        f"{timing.total_s:.1f} s",
        "–" if memory.rss_peak_mb is None else f"{memory.rss_peak_mb:.0f} MiB",
    ]


def _removed(record: Record) -> list[str]:
    detail = record.defense_detail
    if detail is None or not detail.removed:
        return ["0", "–", "–"]
    return [
        str(detail.removed),
        "–" if detail.precision is None else f"{detail.precision:.2f}",
        "–" if detail.recall is None else f"{detail.recall:.2f}",
    ]


def _summary(records: list[Record]) -> list[list[str]]:
    metrics = [record.metrics for record in records if record.metrics]
    columns = [m.acc1 for m in metrics], [m.acc2 for m in metrics], [m.drop for m in metrics]
    means, spreads = [f"{mean(values):.2f}" for values in columns], [f"{stdev(values):.2f}" for values in columns]
    return [["mean", *means], ["± std", *spreads]]


def _source(outcomes: list[Outcome]) -> Text:
    from_store = sum(outcome.reused == ["record"] for outcome in outcomes)
    if from_store:
        return Text(f"From the store: {from_store} of {len(outcomes)} records; nothing of them was computed again.")
    reused = [kind for outcome in outcomes for kind in outcome.reused]
    computed = [kind for outcome in outcomes for kind in outcome.computed]
    return Text(f"Computed: {_counted(computed)}. From the store: {_counted(reused)}.")


def _counted(kinds: list[str]) -> str:
    words = {"weights": "training run", "poison": "poison set"}
    counts = {words.get(kind, kind): kinds.count(kind) for kind in dict.fromkeys(kinds)}
    return ", ".join(f"{n} {word}{'s' if n != 1 else ''}" for word, n in counts.items()) or "nothing"
