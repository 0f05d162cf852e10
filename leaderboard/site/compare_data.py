"""What the page that compares two entries needs of a board: the entries of each ranking, and every pair of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from poisonbench.leaderboard.boards import Board
from poisonbench.leaderboard.defense_standings import DefenseFamily
from poisonbench.leaderboard.experiments import Experiment
from poisonbench.leaderboard.residuals import Residuals
from poisonbench.leaderboard.site import numbers
from poisonbench.leaderboard.site.method_view import Standing, standings_on
from poisonbench.leaderboard.site.pairs import Pair, pairs
from poisonbench.leaderboard.statistics.ranking import Better, Contributions
from poisonbench.store.record import Record

Facts = list[tuple[str, str]]


def families(board: Board, page: Callable[[str, str], str]) -> list[dict[str, Any]]:
    """The rankings of a board that have two entries at least.

    Args:
        board: the board.
        page: of a method by kind and label, from the site's root.
    """
    attacks = {one.experiment.attack_label: one.experiment.contributions("drop") for one in board.attacks if one.rank}
    every = [_family("attacks", "Attacks against no defense", board, attacks, "largest", page)]
    every += [
        _family(
            f"defenses-{family.trust.name.lower()}",
            f"Defenses {family.trust}",
            board,
            _left(board, family),
            "smallest",
            page,
        )
        for family in board.families
    ]
    return [family for family in every if family["pairs"]]


def _left(board: Board, family: DefenseFamily) -> dict[str, Contributions]:
    """By ranked defense, what each image adds to what it leaves."""
    faced: dict[str, dict[str, Experiment[Record]]] = {}
    for one in board.experiments:
        if one.ranked and not one.attack.informed and one.defense_label in family.ranking.ranks:
            faced.setdefault(one.defense_label, {})[one.attack_label] = one
    return {name: Residuals(found, board.yardstick).contributions for name, found in faced.items()}


def _family(
    name: str,
    title: str,
    board: Board,
    entries: Mapping[str, Contributions],
    better: Better,
    page: Callable[[str, str], str],
) -> dict[str, Any]:
    kind = "attack" if better == "largest" else "defense"
    standings = [one for one in standings_on(kind, board) if one.label in entries and one.rank]
    return {
        "name": name,
        "title": title,
        "value": "drop" if kind == "attack" else "points left",
        "seeds": list(board.seeds),
        "entries": [
            {
                "label": one.label,
                "page": page(kind, one.label),
                "facts": list(_facts(kind, one)),
                "by_seed": [numbers.points(float(entries[one.label][seed].mean(dtype=float))) for seed in board.seeds],
            }
            for one in standings
        ],
        "pairs": [_pair(one) for one in pairs(entries, board.seeds, better)],
    }


def _facts(kind: str, one: Standing) -> Iterator[tuple[str, str]]:
    yield "rank", one.place
    yield ("drop" if kind == "attack" else "points left"), numbers.mean(one.value)
    if kind == "attack":
        yield "standard deviation over seeds", numbers.points(one.value.std if one.value else None)
        yield "attack time", numbers.seconds(one.cost.mean if one.cost else None)
    else:
        worst = one.defense.worst if one.defense else None
        yield "clean cost", numbers.mean(one.cost)
        yield "worst attack", f"{worst.attack}, {numbers.points(worst.drop.mean)}" if worst else numbers.MISSING
        removed = one.defense.removed if one.defense else None
        yield "rows removed", numbers.rows(None if removed is None else round(removed))
        yield "trusted rows", numbers.rows(one.defense.trusted if one.defense else None)
    yield "notes", ", ".join(one.badges)


def _pair(one: Pair) -> dict[str, Any]:
    return {
        "first": one.first,
        "second": one.second,
        "sentence": one.sentence,
        "difference": one.shown,
        "by_seed": [numbers.points(value) for value in one.by_seed],
    }
