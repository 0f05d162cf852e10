"""Records to boards: one board per protocol × model × ε, attacks by defenses."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import mean, stdev

from poisonbench.leaderboard.methods import labels
from poisonbench.leaderboard.values import Value
from poisonbench.store.tables import Row


@dataclass(frozen=True)
class Entry:
    """One attack against one defense.

    Attributes:
        mean: of the board's value over seeds.
        std: sample standard deviation over seeds, or None with one seed.
        seeds: how many seeds, each counted once, by its latest ranked record.
    """

    mean: float
    std: float | None
    seeds: int


@dataclass(frozen=True)
class Board:
    """Everything that may be compared: same protocol, model and ε.

    Attributes:
        value: what its entries are.
        entries: by (attack, defense), as labelled: one method with two settings is two rows.
        unranked: records left out because they deviate from the protocol.
        failed: records left out because they did not finish.
    """

    value: Value
    protocol: str
    model: str
    epsilon: float
    entries: dict[tuple[str, str], Entry]
    unranked: int
    failed: int

    @property
    def attacks(self) -> list[str]:
        """Largest first: by the value against no defense, else by the largest there is."""
        return sorted({attack for attack, _ in self.entries}, key=self._size)

    @property
    def defenses(self) -> list[str]:
        """No defense first, then by name."""
        return sorted({defense for _, defense in self.entries}, key=lambda name: (name != "none", name))

    def _size(self, attack: str) -> tuple[float, str]:
        plain = self.entries.get((attack, "none"))
        sizes = [plain.mean] if plain else [entry.mean for (name, _), entry in self.entries.items() if name == attack]
        return -max(sizes), attack


def boards(rows: Iterable[Row], value: Value, number: Callable[[Row], float | None]) -> list[Board]:
    """Every board that has a record, with one value in its cells.

    Args:
        rows: of the store's records.
        value: what it is.
        number: the value of a row's record.
    """
    groups: dict[tuple[str, str, float], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.protocol, row.model, row.epsilon), []).append(row)
    return [_board(value, number, *key, group) for key, group in sorted(groups.items())]


def _board(
    value: Value, number: Callable[[Row], float | None], protocol: str, model: str, epsilon: float, rows: list[Row]
) -> Board:
    usable = [row for row in rows if row.status == "ok" and row.ranked]
    attacks = labels({(row.attack, row.attack_params, row.surrogate) for row in usable})
    defenses = labels({(row.defense, row.defense_params, None) for row in usable})
    latest: dict[tuple[str, str, int], Row] = {}
    for row in sorted(usable, key=lambda row: row.finished_at):
        attack = attacks[row.attack, row.attack_params, row.surrogate]
        latest[attack, defenses[row.defense, row.defense_params, None], row.seed] = row
    found: dict[tuple[str, str], list[float]] = {}
    for (attack, defense, _), row in latest.items():
        shown = number(row)
        if shown is not None:
            found.setdefault((attack, defense), []).append(shown)
    entries = {
        key: Entry(mean(numbers), stdev(numbers) if len(numbers) > 1 else None, len(numbers))
        for key, numbers in found.items()
    }
    failed = sum(row.status != "ok" for row in rows)
    return Board(value, protocol, model, epsilon, entries, len(rows) - len(usable) - failed, failed)
