"""What tells numbers apart: the axes of a table, and how their entries are named and ordered."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple

from poisonbench.leaderboard.methods import Method
from poisonbench.store.tables import Row

AXES = ("attack", "defense", "model", "dataset", "protocol", "epsilon", "surrogate", "seed")

NO_DEFENSE = "none"
TARGET = "target"
"""The surrogate of an attack that has none: it is crafted on the target model."""

_CONTROL = {code: chr(0x2400 + code) for code in range(32)} | dict.fromkeys(range(127, 160), "�")


class Setup(NamedTuple):
    """All that numbers of one cell share; its records differ in the seed alone. Fields as in Row."""

    protocol: str
    protocol_version: int
    dataset: str
    model: str
    epsilon: float
    attack: str
    attack_params: str
    surrogate: str | None
    defense: str
    defense_params: str


setup_fields = attrgetter(*Setup._fields)
"""The fields of a Setup, of a Row, as a tuple."""


def setup_of(row: Row) -> Setup:
    """What a row was run under."""
    return Setup(*setup_fields(row))


def attack_in(setup: Setup, axes: Collection[str]) -> Method:
    """The attack with its settings; where surrogates are an axis they are no setting."""
    return setup.attack, setup.attack_params, None if "surrogate" in axes else setup.surrogate


def defense_in(setup: Setup) -> Method:
    """The defense with its settings."""
    return setup.defense, setup.defense_params, None


def coordinate(axis: str, setup: Setup, seed: int | None, axes: Collection[str]) -> Any:
    """Where a number stands on an axis: equal for numbers of one entry, and for those alone.

    A protocol has one dataset, so its entries hold it: no two datasets can share one.
    """
    match axis:
        case "attack":
            return attack_in(setup, axes)
        case "defense":
            return defense_in(setup)
        case "protocol":
            return setup.protocol, setup.protocol_version, setup.dataset
        case "seed":
            return seed
        case _:
            return getattr(setup, axis)


@dataclass(frozen=True)
class Names:
    """How a table names the entries of its axes.

    Attributes:
        attacks: labels.
        defenses: labels.
        strength: of attacks, the strongest smallest; without one, attacks are in the order of their labels.
    """

    attacks: Mapping[Method, str]
    defenses: Mapping[Method, str]
    strength: Mapping[Method, float]

    def label(self, axis: str, entry: Any) -> str:
        """An entry's name; control characters, which a terminal would obey, are drawn instead."""
        match axis:
            case "attack":
                text = self.attacks[entry]
            case "defense":
                text = self.defenses[entry]
            case "protocol":
                text = entry[0]
            case "epsilon":
                text = f"{entry:.12g}"
            case "surrogate":
                text = entry or TARGET
            case _:
                text = str(entry)
        return text.translate(_CONTROL)

    def order(self, axis: str, entry: Any) -> tuple[Any, ...]:
        """Sorts entries: attacks strongest first, no defense before the others, numbers by size, the rest by name."""
        match axis:
            case "attack":
                return self.strength.get(entry, 0.0), self.attacks[entry], str(entry)
            case "defense":
                return entry[0] != NO_DEFENSE, self.defenses[entry], entry[1]
            case "surrogate":
                return entry is not None, entry or ""
            case _:
                return (entry,)
