"""Attacks that know the defense: they begin at what it makes of clean rows, and mend what it would remove."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from poisonbench.attacks.base import Attack
from poisonbench.attacks.evaluation import right
from poisonbench.problem.budget import Budget
from poisonbench.problem.predictor import Vote
from poisonbench.problem.samples import PoisonSet, Samples
from poisonbench.problem.threat import Mode
from poisonbench.problem.views import AttackerView, Rehearse
from poisonbench.stages.stage import Stage

STRENGTHS = (1.0, 0.75, 0.5, 0.25)
"""Which part of the way from their sources poison rows are tried at."""

ROUNDS = 3
"""How often what the defense removes is replaced, at most."""


@dataclass(frozen=True)
class _Attempt:
    """A poison set and what the rehearsed defense makes of it: its accuracy on D_v, and which poison rows it keeps."""

    poison: PoisonSet
    accuracy: float
    kept: Tensor
    strength: float


def crafted(attack: Attack, view: AttackerView, budget: Budget, stage: Stage) -> PoisonSet:
    """The poison set of an attack, which uses what it knows of the defense, if it knows any.

    An attack that knows a defense (1) is given the weights that the defense leads to on D_tr as its clean weights, if
    they are those of one model; (2) rehearses through the defense wherever it trains a model to look at D_v
    (evaluation.py); (3) has its points tried at `STRENGTHS` of the way from their sources and, where it may add points,
    those that the defense removes replaced by copies of those that it keeps, up to `ROUNDS` times: of all these poison
    sets the one is returned on which the rehearsed defense is least accurate on D_v. An attack's own way is among them.

    What an attack trains within its own loop, such as TGDA's follower, is trained plainly, and no attack is written for
    one defense alone. So what this finds is a lower bound on what one that knows the defense can do (Tramèr, Carlini,
    Brendel & Madry, "On Adaptive Attacks to Adversarial Example Defenses", NeurIPS 2020). (3) is ours: shrinking and
    repeating are what Koh, Steinhardt & Liang (2022) use against sanitisers.

    Args:
        attack: that crafts.
        view: what it sees; `rehearse` is the defense that it knows.
        budget: of the poison set; points between a source and a point within it are within it.
        stage: of the attack.
    Cost: beside the attack's, at most 1 + |STRENGTHS| + ROUNDS runs of the defense.
    """
    rehearse = view.rehearse
    if rehearse is None:
        return attack.craft(view, budget, stage)
    clean = rehearse(view.train, stage, "rehearse without poison")
    if not isinstance(clean.predictor, Vote):
        view = replace(view, weights=clean.predictor)
    poison = attack.craft(view, budget, stage)
    before = right(clean, view.validation)
    return _least(poison, view, rehearse, before, budget, stage)


def _least(
    poison: PoisonSet, view: AttackerView, rehearse: Rehearse, before: float, budget: Budget, stage: Stage
) -> PoisonSet:
    """The poison set that leaves the rehearsed defense least accurate."""
    mode = budget.threat.mode

    def attempt(made: PoisonSet, strength: float, task: str) -> _Attempt:
        rows, first = _union(view.train, made, mode)
        found = rehearse(rows, stage, task)
        kept = found.kept[first:] if mode is Mode.ADDITION else found.kept[made.source]
        return _Attempt(made, right(found, view.validation), kept, strength)

    own = attempt(poison, 1.0, "rehearse")
    weaker = (attempt(_weaker(poison, view.train, budget, t), t, f"rehearse at {t:g}") for t in STRENGTHS[1:])
    best = min((own, *weaker), key=lambda one: one.accuracy)
    rounds, last = 0, best
    while mode is Mode.ADDITION and rounds < ROUNDS and bool(last.kept.any()) and not bool(last.kept.all()):
        rounds += 1
        last = attempt(_survivors(last), last.strength, f"rehearse after {rounds}")
        best = min((best, last), key=lambda one: one.accuracy)
    evidence = {
        "known_accuracy_clean": before,
        "known_accuracy_own": own.accuracy,
        "known_accuracy": best.accuracy,
        "known_strength": best.strength,
        "known_kept_own": float(own.kept.float().mean()),
        "known_kept": float(best.kept.float().mean()),
    }
    return replace(best.poison, stats={**poison.stats, **evidence})


def _union(train: Samples, poison: PoisonSet, mode: Mode) -> tuple[Samples, int]:
    """What is trained on, and from which row on poison stands, where it is added."""
    if mode is Mode.ADDITION:
        return train.plus(Samples(poison.x, poison.y, poison.source)), len(train)
    rows = train.copy()
    rows.x[poison.source], rows.y[poison.source] = poison.x, poison.y
    return rows, 0


def _weaker(poison: PoisonSet, train: Samples, budget: Budget, strength: float) -> PoisonSet:
    """The points a part of the way from their sources, with the labels that they have. Those without stay."""
    made = (poison.source < 0).view(-1, 1, 1, 1)
    source = torch.where(made, poison.x, train.x[poison.source])
    return replace(poison, x=budget.project(torch.lerp(source, poison.x, strength), source))


def _survivors(attempt: _Attempt) -> PoisonSet:
    """As many points: in the place of each that was removed a copy of one that was kept, in turn."""
    poison, kept = attempt.poison, attempt.kept
    survivors = torch.nonzero(kept).flatten()
    rows = torch.arange(len(kept), device=kept.device)
    gone = torch.nonzero(~kept).flatten()
    rows[gone] = survivors[torch.arange(len(gone), device=kept.device) % len(survivors)]
    return replace(poison, x=poison.x[rows], y=poison.y[rows], source=poison.source[rows])
