"""Boards: what may be compared, and who is ahead.

A board is the experiments that share their conditions but for deviations: numbers of different budgets are no
comparison, and records that perturb the whole training set (unlearnable examples), or that earlier code made, have
boards of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from poisonbench.leaderboard.attack_standings import AttackStanding, attack_standings
from poisonbench.leaderboard.conditions import Conditions, Kind, told_apart
from poisonbench.leaderboard.counting import seeds_that_count, settings_that_count
from poisonbench.leaderboard.defense_standings import DefenseFamily, DefenseStanding, Order, defense_families
from poisonbench.leaderboard.experiments import NO_STORE, Entries, Experiment, experiments
from poisonbench.leaderboard.informed import Informed, informed
from poisonbench.leaderboard.methods import NO_DEFENSE
from poisonbench.leaderboard.statistics.ranking import Ranking
from poisonbench.store.record import Record


@dataclass(frozen=True)
class Board:
    """Experiments that may be compared, and who is ahead among them.

    Attributes:
        conditions: what all of its experiments share, without deviations.
        title: its name, unique among the boards that it was made with.
        experiments: every attack against every defense, ranked or not.
        seeds: those that count: the protocol's, or those that all share if it is not released.
        attacks: strongest first; one for each attack that has a record against no defense.
        attack_ranking: of those that are ranked, one setting a method.
        families: the defenses without trusted data and those with, each ranked among themselves.
        yardstick: the attacks that defenses are measured by: those that at least half of the defenses have faced.
        informed: attacks that know the defense that they meet; in no ranking.
    """

    conditions: Conditions
    title: str
    experiments: tuple[Experiment[Record], ...]
    seeds: tuple[int, ...]
    attacks: tuple[AttackStanding, ...]
    attack_ranking: Ranking
    families: tuple[DefenseFamily, ...]
    yardstick: tuple[str, ...]
    informed: tuple[Informed, ...]

    @property
    def records(self) -> Iterator[Record]:
        """All of them, superseded ones too; those of a poison set together."""
        every = [
            (one.attack_label, record.seeds.run, one.defense_label, record.record_id, record)
            for one in self.experiments
            for record in (*one.records.values(), *one.failures.values(), *one.superseded)
        ]
        return (entry[-1] for entry in sorted(every, key=lambda entry: entry[:-1]))

    @property
    def reach(self) -> float:
        """The drop that has the full colour where drops are shown as one: the strongest attack's against no defense, or
        the largest of all if none was run so. A control that fails outright would leave every other without one."""
        drops = [
            (one.defense.name == NO_DEFENSE, abs(one.drop.mean)) for one in self.experiments if one.counts and one.drop
        ]
        alone = [size for undefended, size in drops if undefended]
        return max(alone or [size for _, size in drops], default=0.0) or 1.0

    @property
    def defenses(self) -> tuple[DefenseStanding, ...]:
        """Those of all families, one after the other."""
        return tuple(standing for family in self.families for standing in family.standings)


def boards(records: Iterable[Record], order: Order = "mean", entries: Entries = NO_STORE) -> list[Board]:
    """Every board that has a record, in the order of their titles; unlearnable examples, then earlier code last.

    Args:
        records: in any order.
        order: of the defenses.
        entries: of the store that the records are from.
    """
    groups: dict[Conditions, list[Experiment[Record]]] = {}
    for one in experiments(records, entries):
        groups.setdefault(one.conditions.of_board, []).append(one)
    titles = told_apart(groups, str)
    found = [_board(conditions, titles[conditions], group, order) for conditions, group in groups.items()]
    return sorted(
        found, key=lambda board: (board.conditions.earlier, board.conditions.kind is Kind.UNLEARNABLE, board.title)
    )


def _board(conditions: Conditions, title: str, group: Iterable[Experiment[Record]], order: Order) -> Board:
    found = sorted(group, key=_order)
    aware = informed(found)
    ranked = [one for one in found if one.ranked and not one.attack.informed]
    undefended = [one for one in found if one.defense.name == NO_DEFENSE]
    main = [one for one in undefended if one.ranked]
    seeds = seeds_that_count(conditions.protocol, {one.attack_label: one.contributions("drop") for one in main})
    never_alone = [one for one in ranked if one.attack.name not in {each.attack.name for each in main}]
    of_attacks = settings_that_count("attack", [*main, *never_alone])
    of_defenses = settings_that_count("defense", ranked)
    attacks, attack_ranking = attack_standings(undefended, of_attacks, seeds)
    yardstick = _yardstick([one for one in ranked if one.attack in of_attacks and one.defense in of_defenses], attacks)
    shown = [one for one in found if (one.ranked or one.oracle) and not one.attack.informed]
    families = defense_families(shown, of_defenses, seeds, yardstick, order)
    return Board(conditions, title, tuple(found), seeds, attacks, attack_ranking, families, yardstick, aware)


def _order(one: Experiment[Record]) -> tuple[str, bool, str, tuple[str, ...]]:
    return one.attack_label, one.defense.name != NO_DEFENSE, one.defense_label, one.conditions.deviations


def _yardstick(ranked: Iterable[Experiment[Record]], attacks: tuple[AttackStanding, ...]) -> tuple[str, ...]:
    """The attacks that at least half of the defenses have faced, in the order of their standing."""
    faced: dict[str, set[str]] = {}
    for one in ranked:
        faced.setdefault(one.attack_label, set()).add(one.defense_label)
    defenses = set[str]().union(*faced.values())
    order = {standing.experiment.attack_label: index for index, standing in reversed(list(enumerate(attacks)))}
    enough = [attack for attack, by in faced.items() if 2 * len(by) >= len(defenses)]
    return tuple(sorted(enough, key=lambda attack: (order.get(attack, len(order)), attack)))
