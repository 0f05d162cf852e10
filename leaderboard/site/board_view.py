"""A board as its page shows it: in order, compared, on common scales."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from poisonbench.leaderboard.attack_standings import AttackStanding
from poisonbench.leaderboard.boards import Board
from poisonbench.leaderboard.experiments import Experiment
from poisonbench.leaderboard.methods import NO_DEFENSE
from poisonbench.leaderboard.plots.certified import Certificates, certificates
from poisonbench.leaderboard.site.printed import Paper, PaperSetup, Printed
from poisonbench.leaderboard.site.scale import Scale
from poisonbench.leaderboard.trust import Trust
from poisonbench.store.record import Record
from poisonbench.store.record_setup import DatasetInfo


@dataclass(frozen=True)
class MatrixEntry:
    """An entry of the attack × defense matrix.

    Attributes:
        experiment: attack against defense that counts.
        heat: the mean drop by the board's reach, −1 to 1.
    """

    experiment: Experiment[Record]
    heat: float


@dataclass(frozen=True)
class BoardView:
    """What a page of a board shows.

    Attributes:
        board: the board.
        attack_scale: of drops.
        defense_scales: of residual drops, by family.
        attacks: labels, rows of the matrix.
        defenses: labels, its columns; no defense first.
        matrix: by both.
        unranked: experiments that deviate from the protocol, or are of another version of a method.
        names: of methods, by kind and label.
        printed: by attack's label, what the paper prints for it against no defense.
        certificates: what its defenses prove; None if none does.
        records: how many stand on the board.
        seeds: all of them.
        dataset: of its records.
    """

    board: Board
    attack_scale: Scale
    defense_scales: Mapping[Trust, Scale]
    attacks: tuple[str, ...]
    defenses: tuple[str, ...]
    matrix: Mapping[tuple[str, str], MatrixEntry]
    unranked: tuple[Experiment[Record], ...]
    names: Mapping[tuple[str, str], str]
    printed: Mapping[str, Printed]
    certificates: Certificates | None
    records: int
    seeds: tuple[int, ...]
    dataset: DatasetInfo

    @property
    def mixed_code(self) -> bool:
        """Whether an entry of the matrix is a mean over seeds of different code."""
        return any(entry.experiment.mixed_code for entry in self.matrix.values())

    @property
    def comparable(self) -> bool:
        """Whether a ranking has two entries, which can be compared."""
        rankings = (self.board.attack_ranking, *(family.ranking for family in self.board.families))
        return any(len(one.ranks) > 1 for one in rankings)

    @property
    def strongest(self) -> AttackStanding | None:
        """The first attack that has a rank."""
        return self.board.attacks[0] if self.board.attack_ranking.ranks else None


def view(board: Board, paper: Paper) -> BoardView:
    """A board's view, with what the paper prints."""
    kept = [one for one in board.experiments if one.counts and not one.attack.informed]
    every = [record for one in board.experiments for record in (*one.records.values(), *one.failures.values())]
    undefended = [standing.experiment for standing in board.attacks]
    return BoardView(
        board=board,
        attack_scale=Scale.over(standing.drop for standing in board.attacks),
        defense_scales={one.trust: Scale.over(each.residual for each in one.standings) for one in board.families},
        attacks=_ordered((one.attack_label for one in undefended), (one.attack_label for one in kept)),
        defenses=_ordered(
            (NO_DEFENSE, *(standing.defense for standing in board.defenses)), (one.defense_label for one in kept)
        ),
        matrix=_matrix(kept, board.reach),
        unranked=tuple(one for one in board.experiments if not one.counts),
        names=_names(board),
        printed=_printed(undefended, paper),
        certificates=certificates(board),
        records=len(every),
        seeds=tuple(sorted({record.seeds.run for record in every})),
        dataset=every[0].dataset,
    )


def _ordered(known: Iterable[str], there: Iterable[str]) -> tuple[str, ...]:
    """Labels that are there, those of the standings in their order, then the others by name."""
    found = set(there)
    return tuple(dict.fromkeys([*(label for label in known if label in found), *sorted(found)]))


def _matrix(kept: list[Experiment[Record]], reach: float) -> dict[tuple[str, str], MatrixEntry]:
    return {
        (one.attack_label, one.defense_label): MatrixEntry(
            one, max(-1.0, min(1.0, one.drop.mean / reach)) if one.drop else 0.0
        )
        for one in kept
    }


def _names(board: Board) -> dict[tuple[str, str], str]:
    attacks = {("attack", one.attack_label): one.attack.name for one in board.experiments}
    return attacks | {("defense", one.defense_label): one.defense.name for one in board.experiments}


def _printed(undefended: Iterable[Experiment[Record]], paper: Paper) -> dict[str, Printed]:
    ranked = (one for one in undefended if one.ranked and paper)
    found = {one.attack_label: paper.get(PaperSetup.of(one.first)) for one in ranked}
    return {attack: printed for attack, printed in found.items() if printed}
