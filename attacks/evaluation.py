"""Accuracy as an attacker can measure it beforehand: on D_v, also after training on D_tr ∪ D_p as the defender will,
through the defense if that is known."""

from __future__ import annotations

from poisonbench.models.base import Model
from poisonbench.problem.samples import PoisonSet, Samples, Weights
from poisonbench.problem.views import AttackerView, Rehearsed
from poisonbench.stages.stage import Stage
from poisonbench.training import train


def accuracy(model: Model, weights: Weights, samples: Samples) -> float:
    """Percent of samples that the model classifies as labelled."""
    return 100 * float((model.predict(weights, samples.x).argmax(1) == samples.y).float().mean())


def retrained_accuracy(view: AttackerView, poison: PoisonSet, stage: Stage, task: str) -> float:
    """Accuracy on D_v, in percent, of the model trained from scratch on D_tr ∪ D_p with the defender's recipe, or of
    what a known defense makes of those rows. The initial weights and the order of rows are the attacker's own draws.

    Cost: one training, or one run of the defense.
    """
    rows = view.train.plus(Samples(poison.x, poison.y, poison.source))
    if view.rehearse is not None:
        return right(view.rehearse(rows, stage, task), view.validation)
    return accuracy(view.model, train(view.model, rows, view.recipe, stage, task), view.validation)


def right(rehearsed: Rehearsed, samples: Samples) -> float:
    """Percent of samples that a rehearsed defense answers as labelled."""
    return 100 * float((rehearsed.answers(samples.x) == samples.y).float().mean())
