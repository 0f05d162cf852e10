"""Wrong labels: by a rule, at random, or the worst one."""

from __future__ import annotations

import torch
from torch import Tensor

from poisonbench.models.base import Model
from poisonbench.models.margin import best_other_class
from poisonbench.problem.samples import Weights


def flipped_by_rule(y: Tensor, classes: int) -> Tensor:
    """The class C − 1 − y, (n,): the paper's 10 − y is no map of 0..9 to itself. For odd C the middle class stays."""
    return classes - 1 - y


def flipped_at_random(y: Tensor, weights: Tensor, generator: torch.Generator) -> Tensor:
    """A class other than y, (n,), drawn with the chances `weights`, (C,), on the CPU (equation 37 of the paper)."""
    chances = weights.expand(len(y), -1).scatter(1, y.cpu()[:, None], 0.0)
    return torch.multinomial(chances, 1, generator=generator).flatten().to(y.device)


def flipped_to_worst(model: Model, weights: Weights, x: Tensor, y: Tensor) -> Tensor:
    """The class that a linear model scores highest after y (equation 38), or that has the largest loss in a network,
    (n,)."""
    logits = model.predict(weights, x)
    return best_other_class(logits if model.linear else -logits, y)
