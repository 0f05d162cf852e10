"""Records to boards: one board per protocol × model × ε, attacks by defenses."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import mean, stdev

from poisonbench.store.tables import Row


@dataclass(frozen=True)
class Entry:
    """One attack against one defense.

    Attributes:
        drop: mean of acc1 − acc2 over seeds, points.
        std: sample standard deviation over seeds, or None with one seed.
        seeds: how many seeds, each counted once, by its latest ranked record.
    """

    drop: float
    std: float | None
    seeds: int


@dataclass(frozen=True)
class Board:
    """Everything that may be compared: same protocol, model and ε.

    Attributes:
        entries: by (attack, defense), as labelled: one method with two settings is two rows.
        unranked: records left out because they deviate from the protocol.
        failed: records left out because they did not finish.
    """

    protocol: str
    model: str
    epsilon: float
    entries: dict[tuple[str, str], Entry]
    unranked: int
    failed: int

    @property
    def attacks(self) -> list[str]:
        """Strongest first: by the drop against no defense, else by the largest."""
        return sorted({attack for attack, _ in self.entries}, key=self._strength)

    @property
    def defenses(self) -> list[str]:
        """No defense first, then by name."""
        return sorted({defense for _, defense in self.entries}, key=lambda name: (name != "none", name))

    def _strength(self, attack: str) -> tuple[float, str]:
        plain = self.entries.get((attack, "none"))
        drops = [plain.drop] if plain else [entry.drop for (name, _), entry in self.entries.items() if name == attack]
        return -max(drops), attack


def boards(rows: Iterable[Row]) -> list[Board]:
    """Every board that has a record."""
    groups: dict[tuple[str, str, float], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.protocol, row.model, row.epsilon), []).append(row)
    return [_board(*key, group) for key, group in sorted(groups.items())]


def _board(protocol: str, model: str, epsilon: float, rows: list[Row]) -> Board:
    usable = [row for row in rows if row.status == "ok" and row.ranked]
    attacks = _labels({(row.attack, row.attack_params, row.surrogate) for row in usable})
    defenses = _labels({(row.defense, row.defense_params, None) for row in usable})
    latest: dict[tuple[str, str, int], float] = {}
    for row in sorted(usable, key=lambda row: row.finished_at):
        if row.drop is not None:
            attack = attacks[row.attack, row.attack_params, row.surrogate]
            latest[attack, defenses[row.defense, row.defense_params, None], row.seed] = row.drop
    drops: dict[tuple[str, str], list[float]] = {}
    for (attack, defense, _), drop in latest.items():
        drops.setdefault((attack, defense), []).append(drop)
    entries = {
        key: Entry(mean(values), stdev(values) if len(values) > 1 else None, len(values))
        for key, values in drops.items()
    }
    failed = sum(row.status != "ok" for row in rows)
    return Board(protocol, model, epsilon, entries, len(rows) - len(usable) - failed, failed)


_Method = tuple[str, str, str | None]
"""Name, parameters as canonical JSON, surrogate."""


def _labels(methods: set[_Method]) -> dict[_Method, str]:
    """A name for each: the plain one if it is run with one setting only, else with the fields that tell them apart."""
    labels = {}
    for method in methods:
        name, params, surrogate = method
        namesakes = [json.loads(other) for rival, other, _ in methods if rival == name]
        own = json.loads(params)
        telling = [key for key in sorted(own) if any(other.get(key) != own[key] for other in namesakes)]
        notes = [f"{key}={own[key]}" for key in telling] + ([f"on {surrogate}"] if surrogate else [])
        labels[method] = f"{name} ({', '.join(notes)})" if notes else name
    return labels
