"""What defenses prove: accuracy that stands whatever rows are added or taken, against how many, a curve each seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import takewhile
from statistics import fmean

from poisonbench.leaderboard.badges import signed
from poisonbench.leaderboard.boards import Board
from poisonbench.leaderboard.experiments import Experiment, of_protocol
from poisonbench.leaderboard.plots.figure_text import name
from poisonbench.leaderboard.statistics.summaries import Summary, summary
from poisonbench.leaderboard.values import attacked_rows
from poisonbench.store.record import Record
from poisonbench.store.record_results import Certified

_MILESTONES = 5
"""Round numbers of rows that a table has room for."""


@dataclass(frozen=True)
class Proof:
    """What one defense proves, over its seeds.

    Attributes:
        label: of the defense, with the sign if seeds were run with different code.
        defense: its label without it.
        name: as registered.
        rows: from 0, numbers of rows at which the curve of a seed falls, (r,).
        accuracy: of each seed from each of them on, percent, (seeds, r).
        mixed_code: whether its seeds were run with different code.
    """

    label: str
    defense: str
    name: str
    rows: tuple[int, ...]
    accuracy: tuple[tuple[float, ...], ...]
    mixed_code: bool = False

    @property
    def mean(self) -> tuple[float, ...]:
        """Over the seeds, from each of the rows on, (r,)."""
        return tuple(map(fmean, zip(*self.accuracy, strict=True)))

    def at(self, rows: int) -> Summary:
        """What is proven against so many rows, over the seeds."""
        index = sum(1 for _ in takewhile(lambda start: start <= rows, self.rows)) - 1
        return summary([curve[index] for curve in self.accuracy])

    @property
    def half(self) -> int | None:
        """The most rows against which the mean is still 50 percent; None if it is below without any. Of one seed, it is
        the median certified robustness of Levine & Feizi (ICLR 2021)."""
        ends = [after - 1 for after, mean in zip(self.rows, self.mean, strict=True) if mean < 50]
        return ends[0] if ends and ends[0] >= 0 else None


@dataclass(frozen=True)
class Certificates:
    """What the defenses of a board prove.

    Attributes:
        title: the board.
        clean: accuracy without a defense, an attack or poison, over the same seeds, mean, percent.
        budget: rows that an attack adds or takes there.
        proofs: those that prove most first.
    """

    title: str
    clean: float
    budget: int
    proofs: tuple[Proof, ...]

    @property
    def reach(self) -> int:
        """The number of rows from which on no curve falls."""
        return max(proof.rows[-1] for proof in self.proofs)

    @property
    def names(self) -> list[str]:
        """Of the defenses, as registered."""
        return sorted({proof.name for proof in self.proofs})

    @property
    def out_of_reach(self) -> bool:
        """Whether nothing is proven against as many rows as an attack has."""
        return all(proof.at(self.budget).mean == 0 for proof in self.proofs)

    @property
    def milestones(self) -> tuple[int, ...]:
        """The largest five of 1, 2, 5, 10, 20, 50 … against which something is proven, without the attack's own."""
        round_ones = (step * 10**power for power in range(len(str(self.reach))) for step in (1, 2, 5))
        return tuple(rows for rows in round_ones if rows < self.reach and rows != self.budget)[-_MILESTONES:]

    def only(self, defense: str) -> Certificates:
        """Those of one defense, by its registered name, with whatever settings."""
        return replace(self, proofs=tuple(proof for proof in self.proofs if proof.name == defense))


def certificates(board: Board) -> Certificates | None:
    """What is proven by the ranked records of a board; None if none proves anything.

    A proof is about what the defense makes of clean rows, the same whatever the attack, so each of the protocol's seeds
    counts once.
    """
    found: dict[str, dict[int, Record]] = {}
    made: dict[str, list[Experiment[Record]]] = {}
    for one in board.experiments:
        for seed, record in one.records.items() if one.ranked else ():
            if record.metrics and record.metrics.certified:
                found.setdefault(one.defense_label, {}).setdefault(seed, record)
                made.setdefault(one.defense_label, []).append(one)
    if not found:
        return None
    found = {
        label: {seed: by_seed[seed] for seed in of_protocol(board.conditions, by_seed)}
        for label, by_seed in found.items()
    }
    proofs = [_proof(made[label], by_seed) for label, by_seed in found.items()]
    clean = {seed: record.metrics.acc1_padded for of in found.values() for seed, record in of.items() if record.metrics}
    return Certificates(
        title=board.title,
        clean=fmean(
            accuracy
            for accuracy in map(clean.__getitem__, of_protocol(board.conditions, clean))
            if accuracy is not None
        ),
        budget=max(attacked_rows(record) for of in found.values() for record in of.values()),
        proofs=tuple(sorted(proofs, key=lambda proof: (-_area(proof), proof.label))),
    )


def _proof(made: list[Experiment[Record]], by_seed: Mapping[int, Record]) -> Proof:
    curves = [curve for _, record in sorted(by_seed.items()) if record.metrics and (curve := record.metrics.certified)]
    rows, label, mixed = _together(curves), made[0].defense_label, any(one.mixed_code for one in made)
    accuracy = tuple(tuple(map(curve.at, rows)) for curve in curves)
    return Proof(signed(name(label), mixed), label, made[0].defense.name, rows, accuracy, mixed)


def _together(curves: list[Certified]) -> tuple[int, ...]:
    """The numbers of rows at which any of them falls."""
    return tuple(sorted({rows for curve in curves for rows in curve.rows}))


def _area(proof: Proof) -> float:
    """Below the mean curve, which is the mean number of rows that an answer withstands, times 100."""
    widths = (after - before for before, after in zip(proof.rows, proof.rows[1:], strict=False))
    return sum(width * mean for width, mean in zip(widths, proof.mean, strict=False))
