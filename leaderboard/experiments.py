"""What an experiment is: one attack against one defense under the same conditions, a record a seed.

This is the one reading of the records. Boards, tables, comparisons, plots, studies and the site select experiments and
build no key of their own; what two seeds of one mean must share is in Conditions and Method, and nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from types import MappingProxyType
from typing import Generic, TypeVar

import numpy as np

from poisonbench.experiment import protocol
from poisonbench.experiment.protocol import ORACLE, shipped_hash
from poisonbench.identity.versions import on_record, outdated
from poisonbench.leaderboard.badges import Badge, Tier
from poisonbench.leaderboard.conditions import Conditions, Kind
from poisonbench.leaderboard.methods import NO_DEFENSE, Method, labels
from poisonbench.leaderboard.precedence import in_order
from poisonbench.leaderboard.statistics.answers import answered, contribution
from poisonbench.leaderboard.statistics.ranking import SEEDS, Contributions
from poisonbench.leaderboard.statistics.summaries import Summary, summary
from poisonbench.leaderboard.statistics.two_way import measured
from poisonbench.leaderboard.trust import Trust, trust
from poisonbench.store.record import Record
from poisonbench.store.record_setup import KNOWS
from poisonbench.store.tables import COMPUTED, Entry, Row, row_of

Entries = Mapping[str, Entry]
"""How records came into the store that they are from, by their ids."""

NO_STORE: Entries = MappingProxyType({})
"""Of records that whoever has them computed, or that ship."""

UNRELEASED = "the protocol is not a released one"
"""The deviation of a protocol that is a user's own file."""


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
        records: the good ones by seed, in the order of seeds; of each seed the one that counts, see `precedence`.
        failures: by seed, the record that counts of each seed that has no good one.
        superseded: the other records, which one that counts more took the place of.
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
    def comparable(self) -> bool:
        """Whether its methods are of the versions that ship. What has conditions of earlier code is among its likes,
        whatever its methods' versions."""
        return self.conditions.earlier or not self._outdated

    @property
    def counts(self) -> bool:
        """Whether its numbers may be ranked: it is comparable, and nothing deviates from the protocol."""
        return not self.conditions.deviations and self.comparable

    @property
    def ranked(self) -> bool:
        """Whether it counts and has a number."""
        return self.counts and bool(self.records)

    @property
    def oracle(self) -> bool:
        """Whether its defense was told which rows are poison, and nothing else keeps it from being ranked."""
        return self.conditions.deviations == (ORACLE,) and self.comparable and bool(self.records)

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
    def trusted(self) -> int | None:
        """How many trusted rows its defense was shown; None if no record says."""
        return max((row.trusted for row in self.rows.values() if row.trusted is not None), default=None)

    @cached_property
    def trust(self) -> Trust:
        """Whether its defense is one with trusted data."""
        return trust(self.defense.name, self.trusted)

    @cached_property
    def seeds_that_count(self) -> tuple[int, ...]:
        """The seeds whose numbers are summed up, see `of_protocol`."""
        return of_protocol(self.conditions, self.records)

    @property
    def other_seeds(self) -> int:
        """How many good records it has of seeds that do not count."""
        return len(self.records) - len(self.seeds_that_count)

    @cached_property
    def drops(self) -> Mapping[int, float]:
        """acc1 − acc2 by seed, points."""
        return {seed: row.drop for seed, row in self.rows.items() if row.drop is not None}

    @cached_property
    def drop(self) -> Summary | None:
        """The drop over the seeds that count, or None without a good record; with an interval over seeds and test
        images where every record has its answers."""
        seeds = tuple(seed for seed in self.drops if seed in self.seeds_that_count)
        return self.drop_over(seeds) if seeds else None

    def drop_over(self, seeds: Sequence[int]) -> Summary:
        """The drop over some of its seeds."""
        parts = self.contributions("drop")
        table = np.stack([parts[seed] for seed in seeds]) if set(seeds) <= set(parts) else None
        return measured([self.drops[seed] for seed in seeds], table)

    def contributions(self, value: str) -> Contributions:
        """By seed that has answers, the points that each test image adds to a value that is a mean over them."""
        whole: Iterable[tuple[int, object]] = self.records.items()
        answers = {seed: answered(record) for seed, record in whole if isinstance(record, Record)}
        return {seed: contribution(found, value) for seed, found in answers.items() if found}

    def by_seed(self, number: Callable[[Source], float | None]) -> dict[int, float]:
        """A number of each record that has it, by seed."""
        return {seed: found for seed, record in self.records.items() if (found := number(record)) is not None}

    def by_counted_seed(self, number: Callable[[Source], float | None]) -> dict[int, float]:
        """The same of the seeds that count."""
        return {seed: found for seed, found in self.by_seed(number).items() if seed in self.seeds_that_count}

    def over_seeds(self, number: Callable[[Source], float | None]) -> Summary | None:
        """A number summed up over the seeds that count and have it, or None without any."""
        found = self.by_counted_seed(number)
        return summary(list(found.values())) if found else None

    def codes_of(self, seeds: Iterable[int]) -> frozenset[tuple[str, ...]]:
        """The code of engine, model, attack and defense that some of its seeds were run with; forms that are on record
        for one version are one."""
        return frozenset(
            (
                _told_by("engine", "engine", str(row.engine_version), row.engine_code),
                _told_by("model", row.model, str(row.model_version), row.model_code),
                _told_by("attack", row.attack, row.attack_version, row.attack_code),
                _told_by("defense", row.defense, row.defense_version, row.defense_code),
            )
            for row in map(self.rows.__getitem__, seeds)
        )

    @cached_property
    def mixed_code(self) -> bool:
        """Whether its mean is one over seeds of different code; every output marks it."""
        return len(self.codes_of(self.seeds_that_count)) > 1

    @cached_property
    def tier(self) -> Tier:
        """Who vouches for its numbers: a trusted verifier if that holds for every seed that counts, and nobody for
        earlier code."""
        if self.earlier:
            return Tier.EARLIER
        counted = [self.rows[seed] for seed in self.seeds_that_count]
        verified = bool(counted) and all(row.verified_by is not None for row in counted)
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
            Badge.COLLAPSED: any(collapsed(self.records[seed]) for seed in self.seeds_that_count),
            Badge.FEW_SEEDS: 0 < len(self.seeds_that_count) < SEEDS,
            Badge.MIXED_CODE: self.mixed_code,
        }
        return tuple(badge for badge, on in shown.items() if on)

    def holds(self, record: Record) -> bool:
        """Whether the record is one of this experiment, be it a superseded one."""
        return _identity(row_of(record)) == (self.conditions, self.attack, self.defense)


def of_protocol(conditions: Conditions, seeds: Collection[int]) -> tuple[int, ...]:
    """Those of some seeds that are the protocol's, so that nobody's own seeds move a mean; all of them if none is, or
    if the protocol is not one that ships."""
    name = conditions.protocol
    released = set(protocol.load(name).seeds) if name in protocol.names() else set()
    return tuple(seed for seed in seeds if seed in released) or tuple(seeds)


def collapsed(record: Record | Row) -> bool:
    """Whether the attack itself says that it came to nothing: `collapsed` among its figures. Columns do not tell."""
    return isinstance(record, Record) and record.attack_stats.get("collapsed") is True


def counts(row: Row) -> bool:
    """Whether a row's numbers count: it finished, under the locked protocol word for word."""
    return row.ranked and row.status == "ok"


def experiments(found: Iterable[Source], entries: Entries = NO_STORE) -> list[Experiment[Source]]:
    """Every experiment that has a record, good or failed, in the order of their oldest records.

    Args:
        found: records in any order, all of them whole or all of them columns.
        entries: of a store that whole records are from; columns have them.
    """
    sources = list(found)
    rows = [
        source if isinstance(source, Row) else row_of(source, entries.get(source.record_id, COMPUTED))
        for source in sources
    ]
    groups: dict[tuple[object, ...], list[tuple[Row, Source]]] = {}
    for index in in_order(rows):
        groups.setdefault(_identifying(rows[index]), []).append((rows[index], sources[index]))
    groups = dict(sorted(groups.items(), key=lambda group: min(_age(row) for row, _ in group[1])))
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


_age = attrgetter("finished_at", "record_id")

_identifying = attrgetter(
    "whole_set", "engine_version", "protocol", "protocol_version", "protocol_hash", "locked", "deviations", "dataset",
    "dataset_version", "dataset_sha256", "n_test", "model", "model_version", "epsilon", "attack", "attack_version",
    "attack_params", "surrogate", "surrogate_version", "defense", "defense_version", "defense_params",
)  # fmt: skip
"""The columns that an identity is made of: rows that have them in common are of one experiment."""


def _identity(row: Row) -> tuple[Conditions, Method, Method]:
    deviations = (*json.loads(row.deviations), *(() if row.locked else (UNRELEASED,)), *_false_name(row))
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
    if f'"{KNOWS}":' in row.attack_params:
        attack = attack.without(KNOWS)._replace(informed=True)
    return conditions, attack, Method(row.defense, row.defense_version, row.defense_params)


def _false_name(row: Row) -> Iterator[str]:
    """A deviation of what goes by the name of a protocol that ships, and was made under other rules."""
    shipped = shipped_hash(row.protocol)
    if shipped is not None and row.protocol_hash != shipped:
        yield f"the rules are not those of {row.protocol}"


def _experiment(
    identity: tuple[Conditions, Method, Method],
    names: tuple[Mapping[Method, str], Mapping[Method, str]],
    group: Sequence[tuple[Row, Source]],
) -> Experiment[Source]:
    """An experiment of records, those that count last."""
    good: dict[int, tuple[Row, Source]] = {pair[0].seed: pair for pair in group if pair[0].status == "ok"}
    bad: dict[int, tuple[Row, Source]] = {pair[0].seed: pair for pair in group if pair[0].seed not in good}
    kept = {id(pair) for pair in (*good.values(), *bad.values())} if len(good) + len(bad) < len(group) else set()
    conditions, attack, defense = identity
    return Experiment(
        conditions=conditions,
        attack=attack,
        defense=defense,
        attack_label=names[0][attack],
        defense_label=names[1][defense],
        records={seed: good[seed][1] for seed in sorted(good)},
        failures={seed: bad[seed][1] for seed in sorted(bad)},
        superseded=tuple(pair[1] for pair in group if kept and id(pair) not in kept),
        rows={seed: good[seed][0] for seed in sorted(good)},
    )


def _told_by(kind: str, names: str, versions: str, codes: str | None) -> str:
    """The version of what made a number, where its code is on record for it or not known, else its code; part by
    part."""
    if codes is None:
        return versions
    parts = zip(names.split("+"), versions.split("+"), codes.split("+"), strict=False)
    return "+".join(version if on_record(kind, name, int(version), code) else code for name, version, code in parts)
