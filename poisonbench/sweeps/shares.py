"""A sweep in shares, each for a process that knows of no other: the same command line deals the same."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from poisonbench.errors import ConfigError
from poisonbench.experiment.cell import Cell


@dataclass(frozen=True)
class Share:
    """A part of a sweep.

    Attributes:
        number: from 1.
        total: parts in all.
    """

    number: int
    total: int

    @classmethod
    def parse(cls, text: str) -> Share:
        """Read `--share`.

        Raises:
            ConfigError: if it is no i/n with 1 ≤ i ≤ n.
        """
        found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise ConfigError(f"--share {text!r}: expected i/n with 1 ≤ i ≤ n, such as 3/8.")
        return cls(int(found[1]), int(found[2]))

    def of(self, cells: Sequence[Cell]) -> list[Cell]:
        """Its cells. Those that craft the same poison set are in one share, so that no share waits for another's."""
        return deal(cells, self.total)[self.number - 1]


def crafted(cells: Sequence[Cell]) -> int:
    """How many poison sets cells craft: more shares than that would be empty."""
    return len({cell.crafting_hash() for cell in cells})


def deal(cells: Sequence[Cell], total: int) -> list[list[Cell]]:
    """Cells in that many shares."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.crafting_hash(), []).append(cell)
    dealt: list[list[Cell]] = [[] for _ in range(total)]
    for index, group in enumerate(groups.values()):
        dealt[index % total].extend(group)
    return dealt
