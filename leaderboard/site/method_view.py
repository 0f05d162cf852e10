"""An attack or a defense as its page shows it: what it is, and how it did everywhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from poisonbench.counted import counted
from poisonbench.leaderboard.attack_standings import AttackStanding
from poisonbench.leaderboard.boards import Board
from poisonbench.leaderboard.conditions import Conditions
from poisonbench.leaderboard.declarations import Field, citations, declaration
from poisonbench.leaderboard.defense_standings import DefenseFamily, DefenseStanding
from poisonbench.leaderboard.experiments import Experiment
from poisonbench.leaderboard.plots.certified import Certificates
from poisonbench.leaderboard.site.board_view import BoardView
from poisonbench.leaderboard.site.curves_svg import STYLES, Line, figure
from poisonbench.leaderboard.site.gallery import Picture
from poisonbench.leaderboard.site.links import code, paper, repository
from poisonbench.leaderboard.site.method_facts import Cost, costs, facts
from poisonbench.leaderboard.site.record_facts import setting, shortened, table
from poisonbench.leaderboard.site.scale import Scale
from poisonbench.leaderboard.statistics.summaries import Summary
from poisonbench.leaderboard.trust import Trust
from poisonbench.plugins.registry import entries
from poisonbench.store.record import Record

_HEADING = {"attack": "What it knows, and what it is", "defense": "What it knows, and what it proves"}


@dataclass(frozen=True)
class Part:
    """One of several methods joined by +, or the method itself.

    Attributes:
        name: as registered.
        summary: first sentence of its docstring.
        source: the package that it is from.
        code: where it is defined; empty if it is not installed here.
        repository: address of that package's; may be empty.
        facts: rendered table of what it knows, proves and costs; empty if it is not installed here.
        fields: what can be set.
        presets: of each its name and the fields that it sets, in words.
    """

    name: str
    summary: str
    source: str
    code: str
    repository: str
    facts: Markup
    fields: tuple[Field, ...]
    presets: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Standing:
    """How a method did on a board.

    Attributes:
        board: the board.
        label: with its settings.
        rank: or None.
        last: the last of the places that it shares; its rank if it shares none.
        of: how many are ranked there, or in the family of a defense.
        value: an attack's drop, or what a defense leaves of it.
        cost: an attack's seconds, or a defense's clean cost.
        badges: what a reader must know of it.
        told: whether an attack's drop differs from 0, or what a defense leaves from what none does; None if it could
            not be tested.
        family: of a defense: the one that it is ranked in.
        defense: of a defense: its standing as its board has it.
    """

    board: Board
    label: str
    rank: int | None
    last: int | None
    of: int
    value: Summary | None
    cost: Summary | None
    badges: tuple[str, ...] = ()
    told: bool | None = None
    family: Trust | None = None
    defense: DefenseStanding | None = None

    @property
    def place(self) -> str:
        """The rank in words, such as "2 of 10" or "1–3 of 10 (tied)"; empty without one."""
        if self.rank is None or self.last is None:
            return ""
        if self.last == self.rank:
            return f"{self.rank} of {self.of}"
        return f"{self.rank}–{self.last} of {self.of} (tied)"


@dataclass(frozen=True)
class Result:
    """An experiment of a method, and the board that it is on."""

    board: Board
    experiment: Experiment[Record]


@dataclass(frozen=True)
class MethodView:
    """What the page of a method shows; lists are in the order of the boards.

    Attributes:
        kind: attack or defense.
        name: as registered, or several joined by +.
        parts: each of these.
        standings: how it did.
        results: its experiments.
        costs: what it took, by board.
        gallery: pictures of an attack's poisoned points.
        citations: BibTeX.
        papers: of each of these what a link to its paper is called, and where it leads.
        certificates: what a defense proves, by board where it does.
    """

    kind: str
    name: str
    parts: tuple[Part, ...]
    standings: tuple[Standing, ...]
    results: tuple[Result, ...]
    costs: tuple[Cost, ...]
    gallery: tuple[Picture, ...]
    citations: tuple[str, ...]
    papers: tuple[tuple[str, str], ...]
    certificates: tuple[tuple[Board, Certificates], ...] = ()

    @property
    def scale(self) -> Scale:
        """Of all standings."""
        return Scale.over(one.value for one in self.standings)

    @property
    def summary(self) -> str:
        """On how many boards it has a rank, and where it is first, alone or not told from others."""
        ranked = [one for one in self.standings if one.rank]
        first = [one for one in ranked if one.rank == 1 and one.of > 1]
        alone = sum(one.last == 1 for one in first)
        nothing = sum(one.told is False for one in ranked)
        said = {
            f"first, ahead of all others, on {alone}": alone,
            f"first, not told from others, on {len(first) - alone}": len(first) - alone,
            f"not told from no {'effect' if self.kind == 'attack' else 'defense'} on {nothing}": nothing,
        }
        if not ranked:
            return "It is ranked on no board yet."
        return "; ".join([f"Ranked on {counted(len(ranked), 'board')}", *(text for text, n in said.items() if n)]) + "."

    @property
    def by_epsilon(self) -> Markup:
        """A figure of what it does against ε, a line for each protocol and model that have two; empty without."""
        lines: dict[str, list[Standing]] = {}
        for one in self.standings:
            if one.value and one.label == self.name and not one.board.conditions.earlier:
                lines.setdefault(f"{one.board.conditions.protocol} · {one.board.conditions.model}", []).append(one)
        several = {name: sorted(found, key=_epsilon) for name, found in lines.items() if len(found) > 1}
        drawn = [
            Line(
                name,
                [_epsilon(one) for one in found],
                [one.value.mean for one in found if one.value],
                [one.value.interval for one in found if one.value],
                marked=True,
            )
            for name, found in several.items()
        ]
        what = "Drop" if self.kind == "attack" else "Points left"
        return figure(drawn[: len(STYLES)], f"{what} against ε", f"{what} against ε, with 95 % intervals.", zero=True)

    def proofs(
        self, drawn: Callable[[tuple[Conditions, str]], Markup | None]
    ) -> list[tuple[Board, Certificates, Markup | None]]:
        """The boards where it proves something, what, and the figure of it."""
        return [(board, found, drawn((board.conditions, self.name))) for board, found in self.certificates]


def views(
    kind: str, names: Sequence[str], boards: Sequence[BoardView], gallery: Mapping[str, Sequence[Picture]]
) -> list[MethodView]:
    """The view of every attack or defense.

    Args:
        kind: attack or defense.
        names: of them.
        boards: all of them.
        gallery: pictures by attack.
    """
    standings: dict[str, list[Standing]] = {name: [] for name in names}
    results: dict[str, list[Result]] = {name: [] for name in names}
    proven: dict[str, list[tuple[Board, Certificates]]] = {}
    for board in boards:
        if found := board.certificates:
            for name in found.names:
                proven.setdefault(name, []).append((board.board, found.only(name)))
        for standing in standings_on(kind, board.board):
            standings[board.names[kind, standing.label]].append(standing)
        for one in board.board.experiments:
            results[(one.attack if kind == "attack" else one.defense).name].append(Result(board.board, one))
    return [
        MethodView(
            kind,
            name,
            tuple(_part(kind, part, [one.experiment for one in results[name]]) for part in name.split("+")),
            tuple(standings[name]),
            tuple(results[name]),
            costs(kind, ((one.board, one.experiment) for one in results[name])),
            tuple(gallery.get(name, ())) if kind == "attack" else (),
            citations(kind, name),
            tuple(filter(None, map(paper, citations(kind, name)))),
            tuple(proven.get(name, ())) if kind == "defense" else (),
        )
        for name in names
    ]


def _epsilon(one: Standing) -> float:
    return one.board.conditions.epsilon


def _part(kind: str, name: str, results: Sequence[Experiment[Record]]) -> Part:
    found, rows = declaration(kind, name), facts(kind, name, results)
    presets, entry = found.defaults.get("presets", {}), entries(kind).get(name)
    return Part(
        name,
        found.summary,
        found.source,
        code(entry.target) if entry else "",
        repository(entry.distribution) if entry else "",
        table(_HEADING[kind], rows) if rows else Markup(),
        found.fields,
        tuple((preset, _settings(values)) for preset, values in presets.items()),
    )


def _settings(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={setting(shortened(value))}" for key, value in values.items())


def standings_on(kind: str, board: Board) -> list[Standing]:
    """How every attack or defense did on a board, in its order."""
    if kind == "defense":
        return [_defense(board, family, one) for family in board.families for one in family.standings]
    return [_attack(board, one) for one in board.attacks]


def _attack(board: Board, one: AttackStanding) -> Standing:
    label, ranking = one.experiment.attack_label, board.attack_ranking
    return Standing(
        board,
        label,
        one.rank,
        None if one.rank is None else ranking.last(label),
        len(ranking.ranks),
        one.drop,
        one.seconds,
        one.badges,
        one.told_from_zero,
    )


def _defense(board: Board, family: DefenseFamily, one: DefenseStanding) -> Standing:
    return Standing(
        board,
        one.defense,
        one.rank,
        None if one.rank is None else family.ranking.last(one.defense),
        len(family.ranking.ranks),
        one.residual,
        one.clean_cost,
        one.badges,
        one.told_from_none,
        family.trust,
        one,
    )
