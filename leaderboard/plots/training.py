"""What attacks measured while they ran: the traces in records, a curve each seed."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from poisonbench.leaderboard.badges import signed
from poisonbench.leaderboard.boards import Board
from poisonbench.leaderboard.experiments import of_protocol
from poisonbench.leaderboard.methods import NO_DEFENSE
from poisonbench.leaderboard.plots.figure_text import name

KNOWN = ("accuracy", "expected_accuracy", "validation_loss", "loss", "residual")
"""What several attacks measure; what one alone does is drawn if it is asked for."""

Curve = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Steps in percent of all, and the measure there: NaN where there is none, as between two loops."""


@dataclass(frozen=True)
class Traces:
    """What the attacks of a board measured.

    Attributes:
        title: the board.
        measures: by name, in order; of each the curves of every seed by attack.
        mixed_code: whether the seeds of any attack were run with different code; such a label has the sign.
    """

    title: str
    measures: Mapping[str, Mapping[str, tuple[Curve, ...]]]
    mixed_code: bool

    @property
    def labels(self) -> list[str]:
        """The labels of the attacks, in order."""
        return sorted({label for lines in self.measures.values() for label in lines})

    def only(self, measures: Collection[str]) -> Traces:
        """The traces of those measures alone, in that order, as far as there are any."""
        chosen = {measure: self.measures[measure] for measure in measures if measure in self.measures}
        return replace(self, measures=chosen)


def traces(board: Board) -> Traces | None:
    """The traces of a board's ranked records, or None if none has any.

    A line each attack: loops that have the same measure stand one after the other, as they ran. An attack's run is the
    same whatever the defense after it, so each of the protocol's seeds counts once.
    """
    measures: dict[str, dict[str, tuple[Curve, ...]]] = {}
    mixed = {one.attack_label for one in board.experiments if one.ranked and one.mixed_code}
    found = _found(board)
    for attack, by_seed in found.items():
        label = signed(name(attack), attack in mixed)
        for _, trace in sorted(by_seed.items()):
            for measure, curve in trace.items():
                lines = measures.setdefault(measure, {})
                lines[label] = (*lines.get(label, ()), curve)
    order = sorted(measures, key=lambda one: (KNOWN.index(one) if one in KNOWN else len(KNOWN), one))
    chosen = {measure: measures[measure] for measure in order}
    return Traces(board.title, chosen, not mixed.isdisjoint(found)) if chosen else None


def _found(board: Board) -> dict[str, dict[int, dict[str, Curve]]]:
    """The curves by attack, seed and measure."""
    found: dict[str, dict[int, dict[str, Curve]]] = {}
    for one in sorted(board.experiments, key=lambda one: one.defense.name == NO_DEFENSE):  # those without one win
        for seed, record in one.records.items() if one.ranked else ():
            made = curves(record.attack_stats.get("trace"))
            if made:
                found.setdefault(one.attack_label, {})[seed] = made
    return {
        attack: {seed: by_seed[seed] for seed in of_protocol(board.conditions, by_seed)}
        for attack, by_seed in found.items()
    }


def curves(trace: object) -> dict[str, Curve]:
    """The curves of a trace by measure. A record may be anybody's: what is no row of numbers as long as its steps is
    left out."""
    parts: dict[str, list[Curve]] = {}
    loops = trace if isinstance(trace, dict) else {}
    for loop in sorted(loops, key=_in_order):
        for measure, (steps, values) in _loop(loops[loop]):
            before = parts.setdefault(measure, [])
            start = before[-1][0][-1] if before else 0.0
            gap = [(np.array([start]), np.array([math.nan]))] if before else []
            before += [*gap, (start + steps, values)]
    joined = {
        measure: (np.concatenate([x for x, _ in some]), np.concatenate([y for _, y in some]))
        for measure, some in parts.items()
    }
    return {
        measure: (100 * steps / steps[-1], values)
        for measure, (steps, values) in joined.items()
        if np.isfinite(values).sum() > 1
    }


def _in_order(loop: str) -> list[tuple[int, str]]:
    """A sorting key that puts loop 2 before loop 10."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"([0-9]+)", str(loop)[:200])]


def _loop(found: object) -> Iterator[tuple[str, Curve]]:
    steps = _row(found.get("step")) if isinstance(found, dict) else None
    if not isinstance(found, dict) or steps is None or not len(steps) or not _rises(steps):
        return
    for measure, numbers in found.items():
        values = _row(numbers)
        if measure != "step" and values is not None and len(values) == len(steps):
            yield measure, (steps, values)


def _rises(steps: NDArray[np.float64]) -> bool:
    return bool(np.isfinite(steps).all() and steps[0] >= 0 and steps[-1] > 0 and (np.diff(steps) > 0).all())


def _row(values: object) -> NDArray[np.float64] | None:
    """Numbers with NaN for null; None for what is no row of numbers."""
    if not isinstance(values, list) or not all(map(_is_number, values)):
        return None
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
