"""Decoy parameters: models with a high error on D_v and a low loss on D_tr, made from flipped labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from poisonbench.errors import ConfigError
from poisonbench.models.base import Model
from poisonbench.models.margin import best_other_class
from poisonbench.problem.samples import Samples, Weights
from poisonbench.problem.views import AttackerView
from poisonbench.stages.stage import Stage
from poisonbench.training import minimise


@dataclass(frozen=True)
class Candidate:
    """A decoy model with what it achieves.

    Attributes:
        weights: θ*.
        quantile: part q of D_v that was flipped.
        repetitions: r, how often the flipped points were repeated.
        train_loss: mean loss on D_tr.
        validation_error: part of D_v, with its true labels, that θ* gets wrong.
    """

    weights: Weights
    quantile: float
    repetitions: int
    train_loss: float
    validation_error: float


def check_grid(quantiles: Sequence[float], repetitions: Sequence[int]) -> None:
    """Check an attack's grid of q and r.

    Raises:
        ConfigError: for the one that is empty or out of range.
    """
    if not (quantiles and all(0 < q <= 1 for q in quantiles)):
        raise ConfigError(f"attack.quantiles: expected numbers in (0, 1], got {quantiles}.")
    if not (repetitions and all(r >= 1 for r in repetitions)):
        raise ConfigError(f"attack.repetitions: expected integers ≥ 1, got {repetitions}.")


def flipped_low_margin(model: Model, weights: Weights, held_out: Samples, quantile: float) -> Samples:
    """The part `quantile` of D_v with the smallest margins s_y − max_{j ≠ y} s_j under the clean model, at least one
    point, with the best other class as label."""
    scores = model.predict(weights, held_out.x)
    other = best_other_class(scores, held_out.y)
    margins = (scores.gather(1, held_out.y[:, None]) - scores.gather(1, other[:, None])).flatten()
    lowest = margins.argsort(stable=True)[: max(1, int(quantile * len(margins)))]
    chosen = held_out.rows(lowest)
    return Samples(chosen.x, other[lowest], chosen.ids)


def candidates(
    view: AttackerView, quantiles: Sequence[float], repetitions: Sequence[int], epochs: int, stage: Stage
) -> list[Candidate]:
    """One decoy for every (q, r): the model trained on D_tr and r copies of the flipped points.

    Args:
        epochs: of training from the clean weights; 0 trains from scratch with the recipe.
    """
    return [_candidate(view, q, r, epochs, stage) for q in quantiles for r in repetitions]


def pareto_front(found: Sequence[Candidate]) -> list[Candidate]:
    """The candidates that no other beats in both training loss and validation error, by falling error and falling
    loss."""
    front: list[Candidate] = []
    for candidate in sorted(found, key=lambda one: (-one.validation_error, one.train_loss)):
        if not front or candidate.train_loss < front[-1].train_loss:
            front.append(candidate)
    return front


def spread(front: Sequence[Candidate], count: int) -> list[Candidate]:
    """At most `count` candidates of a front, evenly spread over it, the first always among them."""
    last = len(front) - 1
    return [front[i] for i in sorted({round(k * last / max(1, count - 1)) for k in range(count)})]


def _candidate(view: AttackerView, quantile: float, repetitions: int, epochs: int, stage: Stage) -> Candidate:
    model, n = view.model, len(view.train)
    flipped = flipped_low_margin(model, view.weights, view.validation, quantile)
    z, y = model.normalise(torch.cat([view.train.x, flipped.x])), torch.cat([view.train.y, flipped.y])
    copies = torch.arange(n, len(y), device=stage.device).repeat(repetitions)
    rows = torch.cat([torch.arange(n, device=stage.device), copies])

    def batch_gradient(weights: Weights, part: Tensor) -> tuple[Tensor, list[Tensor]]:
        return model.gradient(weights, z.index_select(0, rows[part]), y[rows[part]])

    if epochs:
        start, recipe = view.weights, replace(view.recipe, epochs=epochs)
    else:
        start, recipe = (
            {name: value.to(stage.device) for name, value in model.init(stage.generator).items()},
            view.recipe,
        )
    task = f"decoy {quantile:g} {repetitions}"
    weights = minimise(batch_gradient, start, model.buffers, len(rows), recipe, stage, task)
    with torch.no_grad():
        loss = float(model.loss(model.predict(weights, view.train.x), view.train.y))
        wrong = model.predict(weights, view.validation.x).argmax(1) != view.validation.y
    return Candidate(weights, quantile, repetitions, loss, float(wrong.float().mean()))
