"""The paper's own numbers beside ours, as printed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from poisonbench.leaderboard.site.settings import chosen, mode_of
from poisonbench.store.canonical import canonical_json
from poisonbench.store.record import Record


@dataclass(frozen=True)
class PaperSetup:
    """What a table of the paper shows a number of; settings as canonical JSON, those that differ from the defaults."""

    protocol: str
    model: str
    epsilon: float
    surrogate: str | None
    attack: str
    attack_settings: str
    defense: str
    defense_settings: str

    @classmethod
    def of(cls, record: Record) -> PaperSetup:
        """The setup of a ranked record."""
        mode = mode_of(record)
        return cls(
            record.protocol.name,
            record.model.name,
            record.threat.epsilon,
            record.surrogate,
            record.attack.name,
            canonical_json(chosen("attack", record.attack, mode)),
            record.defense.name,
            canonical_json(chosen("defense", record.defense, mode)),
        )


@dataclass(frozen=True)
class Printed:
    """A drop in points, and the table that it is printed in."""

    drop: float
    source: str


Paper = Mapping[PaperSetup, Printed]
