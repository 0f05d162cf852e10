"""The scores of a linear model as a function of raw pixels."""

from __future__ import annotations

import torch
from torch import Tensor

from poisonbench.models.base import Model
from poisonbench.problem.samples import Weights


def affine(model: Model, weights: Weights) -> tuple[Tensor, Tensor]:
    """W and b of a linear model's logits W x + b of raw pixels, normalisation included: (C, d) and (C,)."""
    like = next(iter(weights.values()))
    x = like.new_zeros((model.classes, *model.shape)).requires_grad_()
    logits = model.forward(weights, model.normalise(x))
    (W,) = torch.autograd.grad(logits.diagonal().sum(), x)
    return W.flatten(1), logits[0].detach()


def differences(scores: Tensor) -> Tensor:
    """The differences s_j − s_y for every label y and each of its rivals j ≠ y: (C, …) ↦ (C, C − 1, …)."""
    classes = len(scores)
    all_pairs = scores[None] - scores[:, None]
    rivals = ~torch.eye(classes, dtype=torch.bool, device=scores.device)
    return all_pairs[rivals].view(classes, classes - 1, *scores.shape[1:])
