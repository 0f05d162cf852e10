"""Records to experiments: one attack against one defense under one set of conditions, over seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

from poisonbench.leaderboard.methods import Method, attack_of, defense_of, labels
from poisonbench.store.record import Record


@dataclass(frozen=True)
class Conditions:
    """What must be equal for two numbers to be compared. `deviations` from the protocol are text, or "none"."""

    protocol: str
    protocol_hash: str
    deviations: str
    dataset: str
    dataset_sha256: str
    test_images: int
    model: str
    epsilon: float

    @classmethod
    def of(cls, record: Record) -> Conditions:
        """Those that a record was made under."""
        rules, data = record.protocol, record.dataset
        return cls(
            protocol=rules.name,
            protocol_hash=rules.hash,
            deviations="; ".join(rules.deviations) or "none",
            dataset=data.name,
            dataset_sha256=data.sha256,
            test_images=data.n_test,
            model=record.model.name,
            epsilon=record.threat.epsilon,
        )

    def __str__(self) -> str:
        unranked = "" if self.deviations == "none" else f" ({self.deviations})"
        return f"{self.protocol}{unranked} · {self.model} · ε = {self.epsilon:g}"

    def differences(self, other: Conditions) -> list[str]:
        """One text a field that differs, with both sides in it."""
        pairs = [(field.name, getattr(self, field.name), getattr(other, field.name)) for field in fields(self)]
        return [f"{name.replace('_', ' ')}: {str(a)[:60]} / {str(b)[:60]}" for name, a, b in pairs if a != b]


@dataclass(frozen=True)
class Experiment:
    """One attack against one defense.

    Attributes:
        conditions: of all its records.
        ranked: whether it is on a board.
        attack: the attack with its settings.
        defense: the defense with its settings.
        label: its name among the experiments of the same conditions, labelled as on a board.
        records: by seed, in the order of seeds; of a seed's records the latest.
    """

    conditions: Conditions
    ranked: bool
    attack: Method
    defense: Method
    label: str
    records: Mapping[int, Record]

    def holds(self, record: Record) -> bool:
        """Whether the record is of this experiment, be it a superseded one."""
        own = self.conditions, self.ranked, self.attack, self.defense
        return own == (Conditions.of(record), record.ranked, attack_of(record), defense_of(record))


def experiments(records: Iterable[Record]) -> list[Experiment]:
    """Every experiment that has a record whose status is ok."""
    groups: dict[tuple[Conditions, bool], list[Record]] = {}
    for record in sorted(records, key=lambda record: record.finished_at):
        if record.status == "ok":
            groups.setdefault((Conditions.of(record), record.ranked), []).append(record)
    found = []
    for (conditions, ranked), group in groups.items():
        attacks, defenses = labels({attack_of(one) for one in group}), labels({defense_of(one) for one in group})
        latest: dict[tuple[Method, Method], dict[int, Record]] = {}
        for record in group:
            latest.setdefault((attack_of(record), defense_of(record)), {})[record.seeds.run] = record
        for (attack, defense), seeds in latest.items():
            label = attacks[attack] + ("" if defense[0] == "none" else f"/{defenses[defense]}")
            found.append(Experiment(conditions, ranked, attack, defense, label, dict(sorted(seeds.items()))))
    return found
