"""Records to boards: one board per protocol × model × ε, attacks by defenses."""

from __future__ import annotations

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
        entries: by (attack, defense).
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
    latest: dict[tuple[str, str, int], float] = {}
    for row in sorted(usable, key=lambda row: row.finished_at):
        if row.drop is not None:
            latest[row.attack, row.defense, row.seed] = row.drop
    drops: dict[tuple[str, str], list[float]] = {}
    for (attack, defense, _), drop in latest.items():
        drops.setdefault((attack, defense), []).append(drop)
    entries = {
        key: Entry(mean(values), stdev(values) if len(values) > 1 else None, len(values))
        for key, values in drops.items()
    }
    failed = sum(row.status != "ok" for row in rows)
    return Board(protocol, model, epsilon, entries, len(rows) - len(usable) - failed, failed)
