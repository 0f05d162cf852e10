"""Which rows to flip: those that training has no use for, and that would all pull one way (Biggio et al., 2011)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from poisonbench.models.base import Model
from poisonbench.problem.samples import Samples, Weights


def dual_variables(model: Model, logits: Tensor, y: Tensor) -> Tensor:
    """The weight −∂ℓ/∂s_y in [0, 1] that each row has in the training gradient, (n,): for the hinge 1 for a support
    vector and 0 for any other row, which is the SVM's α_i / C; for cross entropy 1 − p_y."""
    logits = logits.detach().requires_grad_()
    (slope,) = torch.autograd.grad(model.losses(logits, y).sum(), logits)
    return -slope.gather(1, y[:, None]).squeeze(1)


def confidences(logits: Tensor, y: Tensor, flipped: Tensor) -> Tensor:
    """How far each row is from the boundary between its class and the one that it is flipped to, over the farthest's
    distance, (n,)."""
    gap = (logits.gather(1, y[:, None]) - logits.gather(1, flipped[:, None])).squeeze(1).abs()
    return gap / gap.max()


def random_pull(model: Model, rows: Samples, flipped: Tensor, generator: torch.Generator) -> Tensor:
    """How much better a random linear model likes each row's label than the flipped one, (n,), 1 at most.

    The model is one of the form that an SVM's solution has, R_c = Σ_{j: y_j = c} α_j z_j with α_j uniform in [0, 1].
    Flipping the rows that it classifies best turns the trained model away from it, and so all of them pull one way.
    """
    z = model.normalise(rows.x).flatten(1)
    alpha = torch.rand(len(rows), generator=generator).to(z)
    R = (F.one_hot(rows.y, model.classes).to(z.dtype) * alpha[:, None]).T @ z
    scores = z @ R.T
    liked = (scores.gather(1, rows.y[:, None]) - scores.gather(1, flipped[:, None])).squeeze(1)
    return liked / liked.abs().max()


def flip_order(
    model: Model, weights: Weights, rows: Samples, flipped: Tensor, beta: float, generator: torch.Generator
) -> Tensor:
    """The rows from the first to flip to the last, (n,): by rising v_i = α_i / C − β (q_i + s_i), with α_i the dual
    variables, q_i the confidences and, for a linear model, s_i a random pull."""
    logits = model.predict(weights, rows.x)
    v = dual_variables(model, logits, rows.y) - beta * confidences(logits, rows.y, flipped)
    if model.linear:
        v = v - beta * random_pull(model, rows, flipped, generator)
    return v.argsort(stable=True)
