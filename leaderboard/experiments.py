"""What an experiment is: one attack against one defense under the same conditions, a record a seed.

This is the one reading of the records. Boards, tables, comparisons, plots, studies and the site select experiments and
build no key of their own; what two seeds of one mean must share is in Conditions and Method, and nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from functools import cached_property
from operator import attrgetter
from typing import Generic, TypeVar

from poisonbench.identity.versions import on_record, outdated
from poisonbench.leaderboard.badges import Badge, Tier
from poisonbench.leaderboard.methods import NO_DEFENSE, Method, labels
from poisonbench.leaderboard.statistics.ranking import SEEDS
from poisonbench.leaderboard.statistics.summaries import Summary, summary
from poisonbench.store.record import Record
from poisonbench.store.tables import Row, row_of

UNRELEASED = "the protocol is not a released one"
"""The deviation of a protocol that is a user's own file."""


class Kind(StrEnum):
    """What the attacker does: adds a few points, or perturbs the whole training set."""

    POISONING = "poisoning"
    UNLEARNABLE = "unlearnable examples"


@dataclass(frozen=True)
class Conditions:
    """What must be equal, besides the methods, for two numbers to be compared.

    Attributes:
        kind: what the attacker does.
        engine_version: declared by the engine, 0 before there were any; so are the other versions.
        protocol: its name.
        version: of the protocol.
        protocol_hash: SHA-256 of the released document.
        dataset: its name.
        dataset_version: declared by the dataset.
        dataset_sha256: of its content.
        test_images: how many rows the test set has.
        model: the target model.
        model_version: declared by the model.
        epsilon: poison fraction, n_poison / n_train.
        deviations: from the protocol; what has any is not ranked.
    """

    kind: Kind
    engine_version: int
    protocol: str
    version: int
    protocol_hash: str
    dataset: str
    dataset_version: int
    dataset_sha256: str
    test_images: int
    model: str
    model_version: int
    epsilon: float
    deviations: tuple[str, ...]

    def __str__(self) -> str:
        unranked = f" ({'; '.join(self.deviations)})" if self.deviations else ""
        return f"{self.protocol}{unranked} · {self.model} · ε = {self.epsilon:g}{self.tail}"

    @property
    def tail(self) -> str:
        """What a name ends with if it is of unlearnable examples or of earlier code, with a dot before it."""
        told = {self.kind: self.kind is Kind.UNLEARNABLE, Tier.EARLIER: self.earlier}
        return "".join(f" · {text}" for text, on in told.items() if on)

    @cached_property
    def earlier(self) -> bool:
        """Whether engine, dataset or model were of another version than what ships now."""
        made_by = ("engine", "engine", self.engine_version), ("dataset", self.dataset, self.dataset_version)
        return bool(outdated((*made_by, *((("model", self.model, self.model_version),) if self.model else ()))))

    @cached_property
    def of_any_code(self) -> Conditions:
        """The conditions but for versions of code."""
        return replace(self, engine_version=0, dataset_version=0, model_version=0)

    @cached_property
    def of_board(self) -> Conditions:
        """The conditions but for deviations: experiments that share them stand on one board."""
        return replace(self, deviations=())

    @cached_property
    def of_protocol(self) -> Conditions:
        """What the protocol fixes: the conditions but for model, ε and deviations."""
        return replace(self, model="", model_version=0, epsilon=0.0, deviations=())

    @cached_property
    def of_any_epsilon(self) -> Conditions:
        """The conditions but for ε."""
        return replace(self, epsilon=0.0)

    def differences(self, other: Conditions) -> list[str]:
        """One text for each field that differs, with both sides in it."""
        pairs = [
            (field.name, _text(getattr(self, field.name)), _text(getattr(other, field.name))) for field in fields(self)
        ]
        return [f"{name.replace('_', ' ')}: {a[:60]} / {b[:60]}" for name, a, b in pairs if a != b]


Source = TypeVar("Source", Record, Row)
"""What is known of one seed: a whole record, or its columns where there are too many records to parse."""


@dataclass(frozen=True)
class Experiment(Generic[Source]):
    """One attack against one defense under the same conditions.

    Attributes:
        conditions: those of all its records.
        attack: the attack with its settings.
        defense: the defense with its settings.
        attack_label: the attack's name among those of its board.
        defense_label: the defense's name among those of its board.
        records: the good ones by seed, in the order of seeds; of each seed the latest.
        failures: by seed, the latest record of each seed that has no good one.
        superseded: the other records, which a later or a good one of their seed took the place of.
        rows: the columns of the records, by seed.
    """

    conditions: Conditions
    attack: Method
    defense: Method
    attack_label: str
    defense_label: str
    records: Mapping[int, Source]
    failures: Mapping[int, Source]
    superseded: tuple[Source, ...]
    rows: Mapping[int, Row]

    @property
    def label(self) -> str:
        """Attack and defense in one name, the attack's alone against no defense."""
        return self.attack_label + ("" if self.defense.name == NO_DEFENSE else f"/{self.defense_label}")

    @property
    def counts(self) -> bool:
        """Whether its numbers may be ranked: nothing deviates from the protocol, and the methods are of the versions
        that ship. What has conditions of earlier code is among its likes, whatever its methods' versions."""
        return not self.conditions.deviations and (self.conditions.earlier or not self._outdated)

    @property
    def ranked(self) -> bool:
        """Whether it counts and has a number."""
        return self.counts and bool(self.records)

    @property
    def earlier(self) -> bool:
        """Whether anything that made its numbers is of another version than what ships now."""
        return self.conditions.earlier or self._outdated

    @cached_property
    def _outdated(self) -> bool:
        """Whether a method is of another version than the one that ships."""
        return bool(outdated((*self.attack.made_by("attack"), *self.defense.made_by("defense"))))

    @property
    def first(self) -> Source:
        """The record that it is shown by: of the lowest seed, a good one if there is any."""
        kept = self.records or self.failures
        return next(iter(kept.values()))

    @cached_property
    def drops(self) -> Mapping[int, float]:
        """acc1 − acc2 by seed, points."""
        return {seed: row.drop for seed, row in self.rows.items() if row.drop is not None}

    @cached_property
    def drop(self) -> Summary | None:
        """The drop over seeds, or None without a good record."""
        return summary(list(self.drops.values())) if self.drops else None

    def by_seed(self, number: Callable[[Source], float | None]) -> dict[int, float]:
        """A number of each record that has it, by seed."""
        return {seed: found for seed, record in self.records.items() if (found := number(record)) is not None}

    def over_seeds(self, number: Callable[[Source], float | None]) -> Summary | None:
        """A number summed up over the seeds that have it, or None without any."""
        found = self.by_seed(number)
        return summary(list(found.values())) if found else None

    @cached_property
    def codes(self) -> frozenset[tuple[str, str]]:
        """The code of attack and defense that its seeds were run with; forms that are on record for one version are
        one."""
        return frozenset(
            (
                _told_by("attack", row.attack, row.attack_version, row.attack_code),
                _told_by("defense", row.defense, row.defense_version, row.defense_code),
            )
            for row in self.rows.values()
        )

    @property
    def mixed_code(self) -> bool:
        """Whether its mean is one over seeds of different code; every output marks it."""
        return len(self.codes) > 1

    @cached_property
    def tier(self) -> Tier:
        """The paper's if every record is; of earlier code; verified if every record is."""
        if self.rows and all(row.source == "paper" for row in self.rows.values()):
            return Tier.PAPER
        if self.earlier:
            return Tier.EARLIER
        verified = bool(self.rows) and all(row.verified_by is not None for row in self.rows.values())
        return Tier.VERIFIED if verified else Tier.SELF_REPORTED

    @cached_property
    def badges(self) -> tuple[Badge, ...]:
        """What a reader must know, in the order of weight."""
        statuses = {record.status for record in self.failures.values()}
        shown = {
            Badge.UNRANKED: not self.counts,
            Badge.EARLIER: self.earlier,
            Badge.FAILED: "failed" in statuses,
            Badge.TIMEOUT: "timeout" in statuses,
            Badge.OOM: "oom" in statuses,
            Badge.FEW_SEEDS: 0 < len(self.records) < SEEDS,
            Badge.MIXED_CODE: self.mixed_code,
        }
        return tuple(badge for badge, on in shown.items() if on)

    def holds(self, record: Record) -> bool:
        """Whether the record is one of this experiment, be it a superseded one."""
        return _identity(row_of(record)) == (self.conditions, self.attack, self.defense)


def counts(row: Row) -> bool:
    """Whether a row's numbers count: it finished, under the locked protocol word for word."""
    return row.ranked and row.status == "ok"


def experiments(found: Iterable[Source]) -> list[Experiment[Source]]:
    """Every experiment that has a record, good or failed, in the order of their oldest records.

    Args:
        found: records in any order, all of them whole or all of them columns.
    """
    pairs = [(source if isinstance(source, Row) else row_of(source), source) for source in found]
    groups: dict[tuple[object, ...], list[tuple[Row, Source]]] = {}
    for row, source in sorted(pairs, key=_age):
        groups.setdefault(_identifying(row), []).append((row, source))
    shared: dict[Conditions, Conditions] = {}  # one object for all that are equal: what is cached of it is kept once
    identities = [
        (shared.setdefault(conditions, conditions), attack, defense)
        for conditions, attack, defense in (_identity(group[0][0]) for group in groups.values())
    ]
    attacks, defenses = dict[Conditions, set[Method]](), dict[Conditions, set[Method]]()
    for conditions, attack, defense in identities:
        attacks.setdefault(conditions.of_board, set()).add(attack)
        defenses.setdefault(conditions.of_board, set()).add(defense)
    names = {board: (labels(attacks[board]), labels(defenses[board])) for board in attacks}
    return [
        _experiment(identity, names[identity[0].of_board], group)
        for identity, group in zip(identities, groups.values(), strict=True)
    ]


Thing = TypeVar("Thing")


def newest(found: Iterable[Thing], conditions: Callable[[Thing], Conditions]) -> list[Thing]:
    """What is left without those of earlier code that stand beside one of the code that ships, all else equal."""
    every = list(found)
    current = {conditions(one).of_any_code for one in every if not conditions(one).earlier}
    return [one for one in every if not conditions(one).earlier or conditions(one).of_any_code not in current]


def told_apart(found: Iterable[Conditions], name: Callable[[Conditions], str]) -> dict[Conditions, str]:
    """A name for each of the conditions: the plain one, and for namesakes with what tells them apart behind it.

    Args:
        found: conditions, any number of times.
        name: their plain name.
    """
    namesakes: dict[str, list[Conditions]] = {}
    for one in dict.fromkeys(found):
        namesakes.setdefault(name(one), []).append(one)
    names = {}
    for plain, group in namesakes.items():
        telling = [field.name for field in fields(Conditions) if len({getattr(one, field.name) for one in group}) > 1]
        for one in group:
            notes = [f"{key.replace('_', ' ')} {_short(getattr(one, key))}" for key in telling]
            names[one] = f"{plain} ({', '.join(notes)})" if notes else plain
    return names


_identifying = attrgetter(
    "whole_set", "engine_version", "protocol", "protocol_version", "protocol_hash", "locked", "deviations", "dataset",
    "dataset_version", "dataset_sha256", "n_test", "model", "model_version", "epsilon", "attack", "attack_version",
    "attack_params", "surrogate", "surrogate_version", "defense", "defense_version", "defense_params",
)  # fmt: skip
"""The columns that an identity is made of: rows that have them in common are of one experiment."""


def _identity(row: Row) -> tuple[Conditions, Method, Method]:
    deviations = (*json.loads(row.deviations), *(() if row.locked else (UNRELEASED,)))
    conditions = Conditions(
        kind=Kind.UNLEARNABLE if row.whole_set else Kind.POISONING,
        engine_version=row.engine_version,
        protocol=row.protocol,
        version=row.protocol_version,
        protocol_hash=row.protocol_hash,
        dataset=row.dataset,
        dataset_version=row.dataset_version,
        dataset_sha256=row.dataset_sha256,
        test_images=row.n_test,
        model=row.model,
        model_version=row.model_version,
        epsilon=row.epsilon,
        deviations=deviations,
    )
    attack = Method(row.attack, row.attack_version, row.attack_params, row.surrogate, row.surrogate_version)
    return conditions, attack, Method(row.defense, row.defense_version, row.defense_params)


def _age(pair: tuple[Row, object]) -> tuple[str, str]:
    return pair[0].finished_at, pair[0].record_id


def _experiment(
    identity: tuple[Conditions, Method, Method],
    names: tuple[Mapping[Method, str], Mapping[Method, str]],
    group: Iterable[tuple[Row, Source]],
) -> Experiment[Source]:
    """An experiment of records in the order of time."""
    pairs = list(group)
    good: dict[int, tuple[Row, Source]] = {row.seed: (row, source) for row, source in pairs if row.status == "ok"}
    bad: dict[int, tuple[Row, Source]] = {row.seed: (row, source) for row, source in pairs if row.seed not in good}
    kept = {id(row) for row, _ in (*good.values(), *bad.values())}
    conditions, attack, defense = identity
    return Experiment(
        conditions=conditions,
        attack=attack,
        defense=defense,
        attack_label=names[0][attack],
        defense_label=names[1][defense],
        records={seed: good[seed][1] for seed in sorted(good)},
        failures={seed: bad[seed][1] for seed in sorted(bad)},
        superseded=tuple(source for row, source in pairs if id(row) not in kept),
        rows={seed: good[seed][0] for seed in sorted(good)},
    )


def _told_by(kind: str, names: str, versions: str, codes: str) -> str:
    """The version of a method whose code is on record for it, else its code; part by part."""
    parts = zip(names.split("+"), versions.split("+"), codes.split("+"), strict=False)
    return "+".join(version if on_record(kind, name, int(version), code) else code for name, version, code in parts)


def _text(value: object) -> str:
    return "; ".join(value) or "none" if isinstance(value, tuple) else str(value)


def _short(value: object) -> str:
    text = _text(value)
    return text[:8] if len(text) == 64 else text  # a hash
