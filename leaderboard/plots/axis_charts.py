"""A value against ε, or against the size of the training set: what records say, as a chart of lines."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace

from poisonbench.leaderboard.boards import NONE, Key, Kind
from poisonbench.leaderboard.methods import Method, attack_of, defense_of, labels
from poisonbench.leaderboard.plots.charts import Chart, Point
from poisonbench.leaderboard.plots.figure_text import name
from poisonbench.leaderboard.values import VALUES, Value
from poisonbench.store.record import Record


@dataclass(frozen=True)
class Axis:
    """What x is.

    Attributes:
        title: of the axis, in a sentence.
        label: at the axis, with its unit.
        of: x of a record.
        counts: whether a record with a good status is comparable to others along the axis.
        apart: what must be equal for two records to be points of one panel, of what their boards are kept apart by.
    """

    title: str
    label: str
    of: Callable[[Record], float]
    counts: Callable[[Record], bool]
    apart: Callable[[Key], Key] = lambda key: key


def _differs_in_train_rows_alone(record: Record) -> bool:
    """A smaller D_tr is a deviation, so such records are on no board; here they are compared with their likes."""
    return record.protocol.locked and all(text.startswith("train_rows: ") for text in record.protocol.deviations)


EPSILON = Axis(
    "ε",
    "ε = n_poison / n_train",
    lambda record: record.threat.epsilon,
    lambda record: record.ranked,
    lambda key: replace(key, epsilon=0.0),
)
TRAIN_SIZE = Axis(
    "training-set size", "training set, rows", lambda record: record.dataset.n_train, _differs_in_train_rows_alone
)


def chart(records: Iterable[Record], axis: Axis, value: Value, defenses: Collection[str] = (NONE,)) -> Chart | None:
    """A panel for each board that has two values of x or more, a line for each attack against each of the defenses.

    Of a seed's records the latest counts.

    Returns:
        None if there is no such board.
    """
    panels = _panels(records, axis, value, defenses)
    if not panels:
        return None
    attacks = labels({attack for panel in panels.values() for attack, _, _ in panel})
    against = labels({defense for panel in panels.values() for _, defense, _ in panel})
    drawn: dict[str, dict[str, tuple[Point, ...]]] = {title: {} for title in panels}
    for title, panel in panels.items():
        for (attack, defense, x), by_seed in sorted(panel.items(), key=lambda place: place[0][2]):
            label = _label(attacks[attack], against[defense])
            point = Point(x, tuple(by_seed[seed] for seed in sorted(by_seed)))
            drawn[title][label] = (*drawn[title].get(label, ()), point)
    order = sorted({label for panel in drawn.values() for label in panel})  # the same looks in every panel
    drawn = {title: {label: panel.get(label, ()) for label in order} for title, panel in drawn.items()}
    quantity = ("drop", "drop, points") if value == VALUES["drop"] else (value.heading, value.heading)
    return Chart(f"{quantity[0].capitalize()} against {axis.title}", axis.label, quantity[1], drawn, _note(drawn))


Places = dict[tuple[Method, Method, float], dict[int, float]]
"""The value by seed, of an attack against a defense at x."""


def _panels(records: Iterable[Record], axis: Axis, value: Value, defenses: Collection[str]) -> dict[str, Places]:
    found: dict[Key, Places] = {}
    for record in sorted(records, key=lambda record: (record.finished_at, record.record_id)):
        shown = value.of(record)
        counts = record.status == "ok" and record.defense.name in defenses and axis.counts(record)
        if counts and shown is not None:
            places = found.setdefault(axis.apart(Key.of(record)), {})
            place = attack_of(record), defense_of(record), float(axis.of(record))
            places.setdefault(place, {})[record.seeds.run] = shown
    several = {key: places for key, places in found.items() if len({x for _, _, x in places}) > 1}
    return {_title(key): several[key] for key in sorted(several, key=str)}


def _title(key: Key) -> str:
    epsilon = f" · ε = {key.epsilon:g}" if key.epsilon else ""
    return f"{key.protocol} · {key.model}{epsilon}" + (f" · {key.kind}" if key.kind is Kind.UNLEARNABLE else "")


def _label(attack: str, defense: str) -> str:
    return name(attack if defense == NONE else f"{attack} / {defense}")


def _note(panels: dict[str, dict[str, tuple[Point, ...]]]) -> str:
    counts = {len(point.seeds) for panel in panels.values() for line in panel.values() for point in line}
    least, most = min(counts), max(counts)
    return f"means over n = {least if least == most else f'{least} to {most}'} seeds"
