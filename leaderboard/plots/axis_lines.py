"""A value against ε, or against the size of the training set: what experiments say, as a chart of lines."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from poisonbench.leaderboard.badges import signed
from poisonbench.leaderboard.conditions import Conditions, told_apart
from poisonbench.leaderboard.experiments import NO_STORE, Entries, Experiment, experiments
from poisonbench.leaderboard.methods import NO_DEFENSE, Method, labels
from poisonbench.leaderboard.plots.figure_text import name, seeds
from poisonbench.leaderboard.plots.lines import Chart, Point
from poisonbench.leaderboard.values import VALUES
from poisonbench.store.record import Record


@dataclass(frozen=True)
class Axis:
    """What x is.

    Attributes:
        title: of the axis, in a sentence.
        label: at the axis, with its unit.
        of: x of a record.
        counts: whether an experiment is comparable to others along the axis.
        panel: what the conditions of one panel's experiments have in common.
    """

    title: str
    label: str
    of: Callable[[Record], float]
    counts: Callable[[Experiment[Record]], bool]
    panel: Callable[[Conditions], Conditions]


def _differs_in_train_rows_alone(one: Experiment[Record]) -> bool:
    """A smaller D_tr is a deviation, so such records are on no board; here they are compared with their likes."""
    return one.comparable and all(text.startswith("train_rows: ") for text in one.conditions.deviations)


EPSILON = Axis(
    "ε",
    "ε = n_poison / n_train",
    lambda record: record.threat.epsilon,
    lambda one: one.counts,
    lambda conditions: conditions.of_any_epsilon,
)
TRAIN_SIZE = Axis(
    "training-set size",
    "training set, rows",
    lambda record: record.dataset.n_train,
    _differs_in_train_rows_alone,
    lambda conditions: conditions.of_board,
)

Line = tuple[Method, Method]
"""An attack against a defense."""


@dataclass
class _Panel:
    """Experiments that differ in x alone: the records with the value by line, x and seed, and the lines with seeds of
    different code."""

    records: dict[tuple[Line, float], dict[int, Record]] = field(default_factory=dict)
    mixed: set[Line] = field(default_factory=set)


def chart(
    records: Iterable[Record],
    axis: Axis,
    value: str,
    defenses: Collection[str] = (NO_DEFENSE,),
    entries: Entries = NO_STORE,
) -> Chart | None:
    """A panel for the experiments whose conditions differ in x alone, if they have two values of x or more; in it a
    line for each attack against each of the defenses.

    Args:
        records: in any order.
        axis: what x is.
        value: a name in VALUES.
        defenses: by name.
        entries: of the store that the records are from.
    Returns:
        None if there is no such panel.
    """
    panels = _panels(experiments(records, entries), axis, value, defenses)
    if not panels:
        return None
    lines = {line for panel in panels.values() for line, _ in panel.records}
    attacks, against = labels({attack for attack, _ in lines}), labels({defense for _, defense in lines})
    mixed = set[Line]().union(*(panel.mixed for panel in panels.values()))
    names = {line: signed(_label(attacks[line[0]], against[line[1]]), line in mixed) for line in lines}
    drawn: dict[str, dict[str, tuple[Point, ...]]] = {title: {} for title in panels}
    for title, panel in panels.items():
        for (line, x), by_seed in sorted(panel.records.items(), key=lambda item: item[0][1]):
            point = Point.of(x, (by_seed[seed] for seed in sorted(by_seed)), value)
            drawn[title][names[line]] = (*drawn[title].get(names[line], ()), point)
    order = sorted({label for panel in drawn.values() for label in panel})  # the same looks in every panel
    drawn = {title: {label: panel.get(label, ()) for label in order} for title, panel in drawn.items()}
    heading = VALUES[value].heading
    quantity = ("drop", "drop, points") if value == "drop" else (heading, heading)
    title = f"{quantity[0].capitalize()} against {axis.title}"
    return Chart(title, axis.label, quantity[1], drawn, _count(drawn), bool(mixed))


def _panels(
    every: Iterable[Experiment[Record]], axis: Axis, value: str, defenses: Collection[str]
) -> dict[str, _Panel]:
    """The panels by title, in its order."""
    found: dict[Conditions, _Panel] = {}
    for one in every:
        if one.defense.name in defenses and axis.counts(one):
            panel, line = found.setdefault(axis.panel(one.conditions), _Panel()), (one.attack, one.defense)
            for seed in one.by_counted_seed(VALUES[value].of):
                record = one.records[seed]
                panel.records.setdefault((line, float(axis.of(record))), {})[seed] = record
            panel.mixed |= {line} if one.mixed_code else set()
    several = {key: panel for key, panel in found.items() if len({x for _, x in panel.records}) > 1}
    titles = told_apart(several, _title)
    return {titles[key]: several[key] for key in sorted(several, key=lambda key: titles[key])}


def _title(conditions: Conditions) -> str:
    epsilon = f" · ε = {conditions.epsilon:g}" if conditions.epsilon else ""
    return f"{conditions.protocol} · {conditions.model}{epsilon}{conditions.tail}"


def _label(attack: str, defense: str) -> str:
    return name(attack if defense == NO_DEFENSE else f"{attack} / {defense}")


def _count(panels: dict[str, dict[str, tuple[Point, ...]]]) -> str:
    counts = {len(point.seeds) for panel in panels.values() for line in panel.values() for point in line}
    return f"means over {seeds(counts)}"
