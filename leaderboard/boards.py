"""Boards: what may be compared, and who is ahead.

One board for each protocol version × dataset × model × ε: numbers of different budgets are no comparison. Records that
perturb the whole training set (unlearnable examples) have boards of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property

from poisonbench.leaderboard.methods import Method, attack_of, defense_of, labels
from poisonbench.leaderboard.statistics.ranking import SEEDS, Seeds, ranks
from poisonbench.leaderboard.statistics.summaries import Summary, summary
from poisonbench.store.record import Record

NONE = "none"
"""The defense that does nothing."""


class Kind(StrEnum):
    """What the attacker does: adds a few points, or perturbs the whole set."""

    POISONING = "poisoning"
    UNLEARNABLE = "unlearnable examples"


class Badge(StrEnum):
    """What a visitor must know of an entry before trusting its number."""

    UNRANKED = "unranked"
    FAILED = "failed"
    TIMEOUT = "timed out"
    OOM = "out of memory"
    FEW_SEEDS = "few seeds"
    MIXED_CODE = "mixed code"


class Tier(StrEnum):
    """Who vouches for a number."""

    VERIFIED = "verified"
    SELF_REPORTED = "self-reported"
    PAPER = "paper as printed"


@dataclass(frozen=True)
class Key:
    """What must be equal for two numbers to be compared."""

    kind: Kind
    protocol: str
    version: int
    dataset: str
    model: str
    epsilon: float

    @classmethod
    def of(cls, record: Record) -> Key:
        """That of a record."""
        threat = record.threat
        whole = threat.mode == "perturbation" and threat.n_poison >= threat.denominator
        return cls(
            Kind.UNLEARNABLE if whole else Kind.POISONING,
            record.protocol.name,
            record.protocol.version,
            record.dataset.name,
            record.model.name,
            threat.epsilon,
        )

    def __str__(self) -> str:
        tail = f" · {self.kind}" if self.kind is Kind.UNLEARNABLE else ""
        return f"{self.protocol} · {self.model} · ε = {self.epsilon:g}{tail}"

    @property
    def slug(self) -> str:
        """For file names: a-z, 0-9, dot and hyphen."""
        tail = "-unlearnable" if self.kind is Kind.UNLEARNABLE else ""
        text = f"{self.protocol}-{self.model}-{self.epsilon:g}{tail}".lower()
        return "".join(letter if (letter.isalnum() and letter.isascii()) or letter in ".-" else "-" for letter in text)


@dataclass(frozen=True)
class Place:
    """One attack against one defense on a board.

    Attributes:
        attack: label.
        defense: label.
        deviations: from the protocol; what has any is not ranked.
        records: good ones by seed, of each seed the latest.
        failures: by seed, the latest record of a seed that has no good one.
    """

    attack: str
    defense: str
    deviations: tuple[str, ...]
    records: Mapping[int, Record]
    failures: Mapping[int, Record]

    @property
    def ranked(self) -> bool:
        """Whether its numbers count."""
        return not self.deviations and bool(self.records)

    @cached_property
    def drops(self) -> dict[int, float]:
        """acc1 − acc2 by seed, points."""
        return {seed: record.metrics.drop for seed, record in self.records.items() if record.metrics}

    @cached_property
    def drop(self) -> Summary | None:
        """Over seeds, or None without a good record."""
        return summary(list(self.drops.values())) if self.records else None

    @cached_property
    def attack_seconds(self) -> Summary | None:
        """Over seeds, or None if no record has it."""
        found = [seconds for record in self.records.values() if (seconds := record.timing.attack_s) is not None]
        return summary(found) if found else None

    @cached_property
    def tier(self) -> Tier:
        """Verified if every record is; the paper's if every record is."""
        if self.records and all(record.provenance.source == "paper" for record in self.records.values()):
            return Tier.PAPER
        verified = [record.provenance.verified_by is not None for record in self.records.values()]
        return Tier.VERIFIED if verified and all(verified) else Tier.SELF_REPORTED

    @cached_property
    def badges(self) -> tuple[Badge, ...]:
        """In the order of weight."""
        statuses = {record.status for record in self.failures.values()}
        code = {(record.attack.code_hash, record.defense.code_hash) for record in self.records.values()}
        shown = {
            Badge.UNRANKED: bool(self.deviations),
            Badge.FAILED: "failed" in statuses,
            Badge.TIMEOUT: "timeout" in statuses,
            Badge.OOM: "oom" in statuses,
            Badge.FEW_SEEDS: 0 < len(self.records) < SEEDS,
            Badge.MIXED_CODE: len(code) > 1,
        }
        return tuple(badge for badge, on in shown.items() if on)


@dataclass(frozen=True)
class AttackStanding:
    """An attack against no defense.

    Attributes:
        rank: from 1, shared by attacks that do not differ; None with too few seeds.
        place: its numbers.
    """

    rank: int | None
    place: Place


@dataclass(frozen=True)
class DefenseStanding:
    """A defense against the board's attacks.

    Attributes:
        rank: from 1, by residual drop, shared by defenses that do not differ; None with too few seeds, or if an attack
            of the yardstick is missing.
        defense: label.
        residuals: drop that is left by seed: the mean over the yardstick's attacks; empty if one is missing.
        worst: the attack that is left the largest mean drop, with it; None if one is missing.
        clean_cost: acc1 less the accuracy with the defense and no poison, over seeds; None if no record has it.
        missing: attacks of the yardstick that it has no ranked record against.
        efficient: no other ranked defense has both a smaller residual drop and a smaller clean cost.
    """

    rank: int | None
    defense: str
    residuals: Mapping[int, float]
    worst: tuple[str, float] | None
    clean_cost: Summary | None
    missing: tuple[str, ...]
    efficient: bool

    @property
    def residual(self) -> Summary | None:
        """Over seeds, or None without any."""
        return summary(list(self.residuals.values())) if self.residuals else None


@dataclass(frozen=True)
class Board:
    """Who is ahead.

    Attributes:
        key: what may be compared.
        places: every attack against every defense, ranked or not.
        attacks: strongest first; one for each attack that has a record against no defense.
        defenses: best first.
        yardstick: the attacks that defenses are measured by: those that at least half of the defenses have faced.
    """

    key: Key
    places: tuple[Place, ...]
    attacks: tuple[AttackStanding, ...]
    defenses: tuple[DefenseStanding, ...]
    yardstick: tuple[str, ...]
    _ranked: dict[tuple[str, str], Place] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        ranked = {(place.attack, place.defense): place for place in self.places if not place.deviations}
        object.__setattr__(self, "_ranked", ranked)

    def place(self, attack: str, defense: str) -> Place | None:
        """The one without deviations, or None."""
        return self._ranked.get((attack, defense))


def boards(records: Iterable[Record]) -> list[Board]:
    """Every board that has a record, in the order of their names."""
    groups: dict[Key, list[Record]] = {}
    for record in sorted(records, key=lambda record: (record.finished_at, record.record_id)):
        groups.setdefault(Key.of(record), []).append(record)
    found = [_board(key, group) for key, group in groups.items()]
    return sorted(found, key=lambda board: (board.key.kind is Kind.UNLEARNABLE, str(board.key)))


def _board(key: Key, records: list[Record]) -> Board:
    places = _places(records)
    ranked = [place for place in places if place.ranked]
    undefended = [place for place in places if place.defense == NONE]
    attacks = _attacks(undefended)
    yardstick = _yardstick(ranked, attacks)
    return Board(key, tuple(places), attacks, _defenses(ranked, yardstick), yardstick)


def _places(records: list[Record]) -> list[Place]:
    """Records in the order of time, to places."""
    methods = [(attack_of(record), defense_of(record)) for record in records]
    attacks, defenses = labels({attack for attack, _ in methods}), labels({defense for _, defense in methods})
    groups: dict[tuple[Method, Method, tuple[str, ...]], list[Record]] = {}
    for record, (attack, defense) in zip(records, methods, strict=True):
        deviations = record.protocol.deviations or (() if record.ranked else ("the protocol is not a released one",))
        groups.setdefault((attack, defense, deviations), []).append(record)
    found = []
    for (attack, defense, deviations), group in groups.items():
        good = {record.seeds.run: record for record in group if record.status == "ok"}
        bad = {record.seeds.run: record for record in group if record.seeds.run not in good}
        place = Place(attacks[attack], defenses[defense], deviations, _sorted(good), _sorted(bad))
        found.append(place)
    return sorted(found, key=lambda place: (place.attack, place.defense != NONE, place.defense, place.deviations))


def _sorted(by_seed: Mapping[int, Record]) -> dict[int, Record]:
    return dict(sorted(by_seed.items()))


def _attacks(undefended: list[Place]) -> tuple[AttackStanding, ...]:
    counted: list[Seeds] = [place.drops if place.ranked else {} for place in undefended]
    standings = [
        AttackStanding(rank, place) for rank, place in zip(ranks(counted, largest_first=True), undefended, strict=True)
    ]

    def order(standing: AttackStanding) -> tuple[bool, bool, float, str]:
        drop = standing.place.drop
        return standing.rank is None, not standing.place.ranked, -drop.mean if drop else 0.0, standing.place.attack

    return tuple(sorted(standings, key=order))


def _yardstick(ranked: list[Place], attacks: tuple[AttackStanding, ...]) -> tuple[str, ...]:
    """In the order of the attacks' standing."""
    faced: dict[str, set[str]] = {}
    for place in ranked:
        faced.setdefault(place.attack, set()).add(place.defense)
    defenses = {place.defense for place in ranked}
    order = {standing.place.attack: index for index, standing in reversed(list(enumerate(attacks)))}
    enough = [attack for attack, by in faced.items() if 2 * len(by) >= len(defenses)]
    return tuple(sorted(enough, key=lambda attack: (order.get(attack, len(order)), attack)))


def _defenses(ranked: list[Place], yardstick: tuple[str, ...]) -> tuple[DefenseStanding, ...]:
    by_defense: dict[str, dict[str, Place]] = {}
    for place in ranked:
        by_defense.setdefault(place.defense, {})[place.attack] = place
    residuals = {name: _residual(faced, yardstick) for name, faced in by_defense.items()}
    found = []
    for (name, faced), rank in zip(
        by_defense.items(), ranks(list(residuals.values()), largest_first=False), strict=True
    ):
        residual, missing = residuals[name], tuple(attack for attack in yardstick if attack not in faced)
        left = {attack: faced[attack].drop for attack in yardstick if attack in faced}
        worst = max(((drop.mean, attack) for attack, drop in left.items() if drop), default=None)
        found.append(
            DefenseStanding(
                rank=rank,
                defense=name,
                residuals=residual,
                worst=(worst[1], worst[0]) if worst and not missing else None,
                clean_cost=_clean_cost(faced),
                missing=missing,
                efficient=False,
            )
        )
    return tuple(sorted(_with_efficient(found), key=_defense_order))


def _residual(faced: Mapping[str, Place], yardstick: tuple[str, ...]) -> dict[int, float]:
    """By seed that every place has, the mean drop over the yardstick's attacks; empty if an attack is missing."""
    if not yardstick or any(attack not in faced for attack in yardstick):
        return {}
    drops = [faced[attack].drops for attack in yardstick]
    seeds = set(drops[0]).intersection(*drops[1:])
    return {seed: sum(one[seed] for one in drops) / len(drops) for seed in sorted(seeds)}


def _clean_cost(faced: Mapping[str, Place]) -> Summary | None:
    """Over seeds: what the defense costs without poison is the same for every attack."""
    by_seed = {
        seed: record.metrics.clean_cost
        for place in faced.values()
        for seed, record in place.records.items()
        if record.metrics and record.metrics.clean_cost is not None
    }
    return summary(list(by_seed.values())) if by_seed else None


def _with_efficient(standings: list[DefenseStanding]) -> list[DefenseStanding]:
    points = [
        (one.residual.mean, one.clean_cost.mean) for one in standings if one.rank and one.residual and one.clean_cost
    ]

    def efficient(one: DefenseStanding) -> bool:
        if not one.rank or one.residual is None or one.clean_cost is None:
            return False
        own = one.residual.mean, one.clean_cost.mean
        return not any(x <= own[0] and y <= own[1] and (x, y) != own for x, y in points)

    return [replace(one, efficient=efficient(one)) for one in standings]


def _defense_order(standing: DefenseStanding) -> tuple[bool, bool, float, str]:
    residual = standing.residual
    return standing.rank is None, residual is None, residual.mean if residual else 0.0, standing.defense
