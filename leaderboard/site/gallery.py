"""Pictures of poisoned points: one for each attack of a board, of its lowest seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from poisonbench.leaderboard.experiments import Experiment
from poisonbench.leaderboard.methods import NO_DEFENSE
from poisonbench.leaderboard.site.catalogue import Catalogue
from poisonbench.store.record import Record

Painter = Callable[[Record], tuple[bytes, str] | None]
"""A record's poisoned points as a PNG, and what it shows in a sentence; None if poison set or dataset is not here."""

Wanted = Mapping[tuple[str, str], tuple[Record, ...]]
"""By the board's title and the attack's label, the records that a picture may be made of, each of another poison set,
best first."""


@dataclass(frozen=True)
class Picture:
    """A picture of poisoned points.

    Attributes:
        path: from the site's root.
        title: of its board.
        attack: name.
        seed: of its record.
        caption: what it shows.
    """

    path: str
    title: str
    attack: str
    seed: int
    caption: str


def wanted(catalogue: Catalogue) -> Wanted:
    """What there is to paint: against no defense first, lowest seeds first."""
    found: dict[tuple[str, str], dict[str, Record]] = {}
    for board in catalogue.boards:
        for one in sorted(board.experiments, key=_plainest_first):
            for record in one.records.values():
                if poison := poison_of(record):
                    found.setdefault((board.title, one.attack_label), {}).setdefault(poison, record)
    return {key: tuple(sets.values()) for key, sets in found.items()}


def _plainest_first(one: Experiment[Record]) -> tuple[bool, bool]:
    return not one.counts, one.defense.name != NO_DEFENSE


def pictures(wanted: Wanted, paint: Painter, folder: Path, done: Callable[[], None]) -> dict[str, Picture]:
    """Paint them into the site's folder; by the poison set's SHA-256, for every record of that set shows it.

    Args:
        wanted: what to paint.
        paint: makes one.
        folder: the site's.
        done: called after each board's attack.
    """
    found: dict[str, Picture] = {}
    for (title, _), records in wanted.items():
        for record in records:
            if painted := paint(record):
                image, caption = painted
                path = f"gallery/{record.record_id}.png"
                (folder / path).parent.mkdir(exist_ok=True)
                (folder / path).write_bytes(image)
                found[poison_of(record)] = Picture(path, title, record.attack.name, record.seeds.run, caption)
                break
        done()
    return found


def poison_of(record: Record) -> str:
    """The SHA-256 of a record's poison set; empty if it has none."""
    return next((artifact.sha256 for artifact in record.artifacts if artifact.kind == "poison"), "")
