"""The panel at the end of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import mean, stdev
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from poisonbench.counted import counted
from poisonbench.leaderboard.values import VALUES, Value
from poisonbench.store.record import Record
from poisonbench.terminal.fitted import Column, Fitted

if TYPE_CHECKING:
    from poisonbench.experiment.runner import Outcome

_ACCURACIES = {"acc1 %": "acc1", "acc2 %": "acc2", "drop": "drop"}
_DEFENSE = {
    "undefended": "undefended",
    "clean cost": "clean-cost",
    "removed": "removed",
    "prec.": "precision",
    "recall": "recall",
}
_PROOF = {"certified": "certified"}
"""The values that are shown, by heading."""

_TIMES = ("pretrain", "attack", "defense", "retrain")


def results_panel(outcomes: list[Outcome]) -> RenderableType:
    """The panel of one experiment over its seeds: accuracies, drop, what the defense saves, costs and removes, time and
    memory."""
    records = [outcome.record for outcome in outcomes]
    first = records[0]
    headings = _ACCURACIES if first.defense.name == "none" else _ACCURACIES | _DEFENSE
    if any(record.metrics and record.metrics.certified for record in records):
        headings |= _PROOF
    columns = [VALUES[name] for name in headings.values()]
    rows = [[str(record.seeds.run), *_row(record, columns)] for record in records]
    texts = [
        [Text(text, style="red" if record.metrics is None and index else "") for index, text in enumerate(row)]
        for record, row in zip(records, rows, strict=True)
    ]
    good = [record for record in records if record.metrics]
    if len(good) > 1:
        for name, statistic in (("mean", mean), ("± std", stdev)):
            texts.append([Text(text, style="bold") for text in (name, *_over(good, columns, statistic))])
    table = Fitted([Column(heading, "right") for heading in ("seed", *headings)], texts, groups=(len(records),), gap=1)
    lines: list[RenderableType] = [_what(first), _known(first), Text(), table, Text()]
    if good:
        lines.append(_cost(good))
    if fallen := [str(record.seeds.run) for record in records if record.attack_stats.get("collapsed") is True]:
        lines.append(Text(f"The attack collapsed with seed {', '.join(fallen)}: its numbers are not its own.", "red"))
    lines.append(_source(outcomes))
    if not first.ranked:
        reason = "; ".join(first.protocol.deviations) or "the protocol is a file of your own"
        lines.append(Text(f"Unranked: {reason}.", style="yellow"))
    lines.append(Text(f"Records {' '.join(record.record_id for record in records)}", style="dim"))
    return _Titled(f"{first.attack.name} against {first.defense.name}", Group(*lines))


@dataclass(frozen=True)
class _Titled:
    """A panel whose title stands in its frame, or, if the frame is too narrow, in its first line."""

    title: str
    body: Group

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        if cell_len(self.title) + 6 <= options.max_width:
            yield Panel(self.body, title=Text(self.title), expand=False)
        else:
            yield Panel(Group(Text(self.title, style="bold"), Text(), self.body), expand=False)


def _what(record: Record) -> Text:
    threat, data = record.threat, record.dataset
    crafted = f", crafted on {record.surrogate}" if record.surrogate else ""
    return Text(
        f"{record.protocol.name} · {data.name}, {data.n_train} to train, {data.n_val} to validate, "
        f"{data.n_test} to test · {record.model.name}{crafted} · ε = {threat.epsilon:g}: "
        f"{counted(threat.n_poison, 'point')}, {'clean' if threat.clean_label else 'dirty'} label"
    )


def _known(record: Record) -> Text:
    """What the attack knew, and how many clean rows the defense was shown."""
    knows = "D_tr alone" if record.threat.knowledge == "training-data-only" else "data, model and recipe"
    trusted = record.defense_detail.trusted if record.defense_detail else None
    own = "" if record.dataset.n_trusted else " of D_v, which the attacker may know"
    shown = f" The defense trusts {counted(trusted, 'clean row')}{own}." if trusted else ""
    return Text(f"The attack knows {knows}.{shown}")


def _row(record: Record, columns: list[Value]) -> list[str]:
    if record.metrics is None:
        return [record.status, *[""] * (len(columns) - 1)]
    return [_number(column.of(record), column) for column in columns]


def _over(records: list[Record], columns: list[Value], statistic: Callable[[list[float]], float]) -> list[str]:
    cells = []
    for column in columns:
        numbers = [found for found in map(column.of, records) if found is not None]
        cells.append(_number(statistic(numbers) if len(numbers) > 1 else None, column))
    return cells


def _number(number: float | None, column: Value) -> str:
    return "–" if number is None else f"{number:.{column.decimals}f}"


def _cost(records: list[Record]) -> Text:
    """The mean seconds of a seed by stage, and the highest peak of memory."""
    spent = [(name, [getattr(record.timing, f"{name}_s") or 0.0 for record in records]) for name in _TIMES]
    stages = ", ".join(f"{name} {mean(values):.1f} s" for name, values in spent)
    peaks = [record.memory.rss_peak_mb for record in records if record.memory.rss_peak_mb is not None]
    memory = f"; memory {max(peaks):.0f} MiB" if peaks else ""
    return Text(f"A seed: {stages}{memory}.")


def _source(outcomes: list[Outcome]) -> Text:
    from_store = sum(outcome.reused == ["record"] for outcome in outcomes)
    if from_store:
        found = f"{from_store} of {counted(len(outcomes), 'record')}"
        return Text(f"From the store: {found}; nothing of {'it' if from_store == 1 else 'them'} was computed again.")
    reused = [kind for outcome in outcomes for kind in outcome.reused]
    computed = [kind for outcome in outcomes for kind in outcome.computed]
    return Text(f"Computed: {_counted(computed)}. From the store: {_counted(reused)}.")


def _counted(kinds: list[str]) -> str:
    words = {"weights": "training run", "poison": "poison set", "defense": "defense run"}
    counts = {words.get(kind, kind): kinds.count(kind) for kind in dict.fromkeys(kinds)}
    return ", ".join(counted(n, word) for word, n in counts.items()) or "nothing"
