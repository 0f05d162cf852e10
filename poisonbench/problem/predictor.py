"""What answers at test time: one model, or several that vote."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from poisonbench.problem.samples import Weights


@dataclass(frozen=True)
class Vote:
    """Several models of the target's architecture, each with one vote: an image gets the label that most of them give,
    of equal counts the smallest (Levine & Feizi, ICLR 2021).

    Attributes:
        models: the weights of each.
    """

    models: tuple[Weights, ...]


Predictor = Weights | Vote
"""The weights of one model, or a vote."""


def models_of(predictor: Predictor) -> tuple[Weights, ...]:
    """The weights of each model."""
    return predictor.models if isinstance(predictor, Vote) else (predictor,)


def winners(votes: Tensor, classes: int) -> Tensor:
    """The label that most models give, of equal counts the smallest.

    Args:
        votes: labels, (models, n), int64.
        classes: number of classes C.
    Returns:
        (n,), int64. Cost: a count, (n, C).
    """
    return counts(votes, classes).argmax(1)


def counts(votes: Tensor, classes: int) -> Tensor:
    """How many models give each label, (n, C), int64."""
    total = torch.zeros(votes.shape[1], classes, dtype=torch.int64, device=votes.device)
    return total.scatter_add_(1, votes.T, torch.ones_like(votes.T))
