"""What tells numbers apart: the axes of a table, and how their entries are named and ordered."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from poisonbench.leaderboard.conditions import Conditions
from poisonbench.leaderboard.experiments import Experiment
from poisonbench.leaderboard.methods import NO_DEFENSE, Method, Model
from poisonbench.store.tables import Row

AXES = ("attack", "defense", "model", "dataset", "protocol", "epsilon", "surrogate", "seed")

_DECIMALS = 9
"""To which means are compared: beyond are the roundings of their sums."""

TARGET = "target"
"""The surrogate of an attack that has none: it is crafted on the target model."""

_CONTROL = {code: chr(0x2400 + code) for code in range(32)} | dict.fromkeys(range(127, 160), "�")


def attack_in(experiment: Experiment[Row], axes: Collection[str]) -> Method:
    """The attack with its settings; where surrogates are an axis they are no setting."""
    attack = experiment.attack
    return attack._replace(surrogate=None, surrogate_version=None) if "surrogate" in axes else attack


def coordinate(axis: str, experiment: Experiment[Row], seed: int | None, axes: Collection[str]) -> Any:
    """Where a number stands on an axis: equal for numbers of one entry, and for those alone.

    A protocol's entry holds all conditions that are no axis, such as its dataset: no two datasets can share one.
    """
    match axis:
        case "attack":
            return attack_in(experiment, axes)
        case "surrogate":
            return experiment.attack.surrogate, experiment.attack.surrogate_version
        case "defense":
            return experiment.defense
        case "protocol":
            return experiment.conditions.of_protocol
        case "model":
            return experiment.conditions.model, experiment.conditions.model_version
        case "seed":
            return seed
        case _:
            return getattr(experiment.conditions, axis)


@dataclass(frozen=True)
class Names:
    """How a table names the entries of its axes.

    Attributes:
        attacks: labels.
        defenses: labels.
        protocols: labels of what protocols fix.
        models: labels of target models and surrogates with their versions.
        strength: of attacks, the strongest smallest; without one, attacks are in the order of their labels.
    """

    attacks: Mapping[Method, str]
    defenses: Mapping[Method, str]
    protocols: Mapping[Conditions, str]
    models: Mapping[Model, str]
    strength: Mapping[Method, float]

    def label(self, axis: str, entry: Any) -> str:
        """An entry's name; control characters, which a terminal would obey, are drawn instead."""
        match axis:
            case "attack":
                text = self.attacks[entry]
            case "defense":
                text = self.defenses[entry]
            case "protocol":
                text = self.protocols[entry]
            case "epsilon":
                text = f"{entry:.12g}"
            case "model" | "surrogate":
                text = self.models[entry] if entry[0] else TARGET
            case _:
                text = str(entry)
        return text.translate(_CONTROL)

    def order(self, axis: str, entry: Any) -> tuple[Any, ...]:
        """Sorts entries: attacks strongest first, each before itself with knowledge of the defense; no defense before
        the others, numbers by size, the rest by name."""
        match axis:
            case "attack":
                strength = self.strength.get(entry._replace(informed=False), self.strength.get(entry, 0.0))
                return round(strength, _DECIMALS), self.attacks[entry], str(entry)
            case "defense":
                return entry.name != NO_DEFENSE, self.defenses[entry], entry.params
            case "protocol":
                return entry.protocol, entry.version, entry.dataset, self.protocols[entry]
            case "surrogate":
                return entry[0] is not None, entry[0] or "", entry[1] or 0
            case _:
                return (entry,)
