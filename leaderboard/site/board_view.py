"""A board as its page shows it: in order, compared, on common scales."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from poisonbench.leaderboard.boards import NONE, AttackStanding, Board, DefenseStanding, Place
from poisonbench.leaderboard.site.leads import Lead, lead
from poisonbench.leaderboard.site.printed import Experiment, Paper, Printed
from poisonbench.leaderboard.site.scale import Scale
from poisonbench.leaderboard.statistics.summaries import Summary
from poisonbench.store.record import DatasetInfo, Record


@dataclass(frozen=True)
class Cell:
    """Of the attack × defense matrix.

    Attributes:
        place: attack against defense, without deviations.
        drop: its summary; None if it has no good record.
        heat: the mean's share of the largest one of the matrix, −1 to 1.
        record: that of the lowest seed.
    """

    place: Place
    drop: Summary | None
    heat: float
    record: Record


@dataclass(frozen=True)
class BoardView:
    """What a page of a board shows.

    Attributes:
        board: the board.
        attack_lead: the strongest attack against the others.
        defense_lead: the best defense against the others.
        attack_scale: of drops.
        defense_scale: of residual drops.
        shared_attack_ranks: those that several attacks have.
        shared_defense_ranks: the same of defenses.
        attacks: labels, rows of the matrix.
        defenses: labels, its columns; no defense first.
        cells: by both.
        unranked: places that deviate from the protocol.
        names: of methods, by kind and label.
        printed: by attack's label, what the paper prints for it against no defense.
        records: how many stand on the board.
        seeds: all of them.
        dataset: of its records.
    """

    board: Board
    attack_lead: Lead | None
    defense_lead: Lead | None
    attack_scale: Scale
    defense_scale: Scale
    shared_attack_ranks: frozenset[int]
    shared_defense_ranks: frozenset[int]
    attacks: tuple[str, ...]
    defenses: tuple[str, ...]
    cells: Mapping[tuple[str, str], Cell]
    unranked: tuple[Place, ...]
    names: Mapping[tuple[str, str], str]
    printed: Mapping[str, Printed]
    records: int
    seeds: tuple[int, ...]
    dataset: DatasetInfo

    @property
    def strongest(self) -> AttackStanding | None:
        """The first attack that has a rank."""
        return self.board.attacks[0] if self.attack_lead else None

    @property
    def safest(self) -> DefenseStanding | None:
        """The first defense that has a rank."""
        return self.board.defenses[0] if self.defense_lead else None


def view(board: Board, paper: Paper) -> BoardView:
    """Of a board and what the paper prints."""
    kept = [place for place in board.places if not place.deviations]
    every = [record for place in board.places for record in _records(place)]
    ranked = [standing for standing in board.attacks if standing.rank is not None]
    able = [standing for standing in board.defenses if standing.rank is not None]
    return BoardView(
        board=board,
        attack_lead=lead([(standing.place.attack, standing.place.drops) for standing in ranked]),
        defense_lead=lead([(standing.defense, standing.residuals) for standing in able]),
        attack_scale=Scale.over(standing.place.drop for standing in board.attacks),
        defense_scale=Scale.over(standing.residual for standing in board.defenses),
        shared_attack_ranks=_shared(standing.rank for standing in board.attacks),
        shared_defense_ranks=_shared(standing.rank for standing in board.defenses),
        attacks=_ordered((one.place.attack for one in board.attacks), (place.attack for place in kept)),
        defenses=_ordered((NONE, *(one.defense for one in board.defenses)), (place.defense for place in kept)),
        cells=_cells(kept),
        unranked=tuple(place for place in board.places if place.deviations),
        names=_names(board),
        printed=_printed(board, paper),
        records=len(every),
        seeds=tuple(sorted({record.seeds.run for record in every})),
        dataset=every[0].dataset,
    )


def _records(place: Place) -> list[Record]:
    return [*place.records.values(), *place.failures.values()]


def first(place: Place) -> Record:
    """The record that a place is shown by: of the lowest seed, a good one if there is any."""
    return _records(place)[0]


def _shared(ranks: Iterable[int | None]) -> frozenset[int]:
    return frozenset(rank for rank, count in Counter(ranks).items() if rank is not None and count > 1)


def _ordered(known: Iterable[str], there: Iterable[str]) -> tuple[str, ...]:
    """Labels that are there, those of the standings in their order, then the others by name."""
    found = set(there)
    return tuple(dict.fromkeys([*(label for label in known if label in found), *sorted(found)]))


def _cells(places: list[Place]) -> dict[tuple[str, str], Cell]:
    drops = {(place.attack, place.defense): place.drop for place in places}
    largest = max((abs(drop.mean) for drop in drops.values() if drop), default=0.0) or 1.0
    found = {}
    for place in places:
        drop = drops[place.attack, place.defense]
        found[place.attack, place.defense] = Cell(place, drop, drop.mean / largest if drop else 0.0, first(place))
    return found


def _names(board: Board) -> dict[tuple[str, str], str]:
    attacks = {("attack", place.attack): first(place).attack.name for place in board.places}
    return attacks | {("defense", place.defense): first(place).defense.name for place in board.places}


def _printed(board: Board, paper: Paper) -> dict[str, Printed]:
    undefended = [standing.place for standing in board.attacks if standing.place.ranked]
    found = {place.attack: paper.get(Experiment.of(first(place))) for place in undefended} if paper else {}
    return {attack: printed for attack, printed in found.items() if printed}
