"""Attacks with target parameters: several decoys are tried, and what leaves the retrained model worst is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from poisonbench.attacks.decoy import Candidate, candidates, pareto_front, spread
from poisonbench.attacks.evaluation import retrained_accuracy
from poisonbench.problem.samples import PoisonSet
from poisonbench.problem.views import AttackerView
from poisonbench.stages.stage import Stage

Attempt = Callable[[int, Candidate], PoisonSet]
"""(number from 1, decoy) ↦ the poison set that it leads to."""


def best_attempt(
    view: AttackerView,
    quantiles: Sequence[float],
    repetitions: Sequence[int],
    epochs: int,
    trials: int,
    attempt: Attempt,
    stage: Stage,
) -> PoisonSet:
    """The poison set, of those that decoys lead to, on which the model that is retrained with the recipe is least
    accurate on D_v; its stats say which decoy it was.

    Args:
        view: the attacker's.
        quantiles: the grid of q.
        repetitions: the grid of r.
        epochs: of a decoy's training from the clean weights; 0 trains it from scratch with the recipe.
        trials: how many decoys of the Pareto front are tried, spread evenly from the strongest.
        attempt: crafts with one.
        stage: of the attack.
    Cost: |quantiles| · |repetitions| decoys, then `trials` attempts with a training each; one attempt has none.
    """
    found = candidates(view, quantiles, repetitions, epochs, stage)
    tried = spread(pareto_front(found), trials)
    attempts = [_with_evidence(attempt(number, decoy), decoy) for number, decoy in enumerate(tried, 1)]
    if len(attempts) == 1:
        return attempts[0]
    left = [retrained_accuracy(view, poison, stage, f"retrain {k}") for k, poison in enumerate(attempts, 1)]
    return attempts[left.index(min(left))]


def _with_evidence(poison: PoisonSet, decoy: Candidate) -> PoisonSet:
    evidence = {
        "decoy_quantile": decoy.quantile,
        "decoy_repetitions": decoy.repetitions,
        "decoy_train_loss": decoy.train_loss,
        "decoy_validation_error": decoy.validation_error,
    }
    return replace(poison, stats={**poison.stats, **evidence})
