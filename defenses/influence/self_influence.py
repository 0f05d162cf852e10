"""Self-influence gᵀ(H + λI)⁻¹g of every row without a solve for each."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from poisonbench.bilevel.hvp import Hessian, Operator
from poisonbench.bilevel.lanczos import lanczos
from poisonbench.defenses.gradients.operator import GradientOperator
from poisonbench.errors import ValidationError
from poisonbench.models.linear import LinearModel
from poisonbench.problem.samples import Samples, Weights

DENSE = 10_000
"""Parameters up to which H is written out: 400 MB, and as much for its factor."""


def dense_self_influence(
    model: LinearModel, weights: Weights, samples: Samples, damping: float, tick: Callable[[], None], chunk: int = 2048
) -> Tensor:
    """The exact self-influence of every row of a linear model, (n,).

    With z̃ = (z, 1), δᵢ the loss's gradient in the logits and Qᵢ its Hessian there, gᵢ = δᵢ ⊗ z̃ᵢ and

        H = 1/n Σᵢ Qᵢ ⊗ z̃ᵢ z̃ᵢᵀ,

    whose lower triangle takes C (C + 1) / 2 products of matrices as wide as an image. With H + λI = LLᵀ the score is
    ‖L⁻¹gᵢ‖².

    Cost: n p² (1 + 1/C) operations; memory of 2 p² numbers.
    """
    parts = []
    classes, width = model.classes, weights["linear.weight"].shape[1] + 1
    H = samples.x.new_zeros((classes, width, classes, width))
    for x, y in zip(samples.x.split(chunk), samples.y.split(chunk), strict=True):
        z = model.normalise(x)
        logits = model.forward(weights, z).detach().requires_grad_()
        Q = Hessian(model.losses(logits, y).sum(), [logits])
        affine = torch.cat([z, z.new_ones(len(z), 1)], dim=1)
        delta = Q.gradient.view_as(logits)
        parts.append((delta, affine))
        for a in range(classes):
            unit = torch.zeros_like(delta)
            unit[:, a] = 1.0
            rows = Q(unit.flatten()).view_as(unit)
            for b in range(a + 1):
                H[a, :, b].addmm_((rows[:, b, None] * affine).T, affine, alpha=1 / len(samples))
        tick()
    factor = _factor(H.view(classes * width, -1), damping)
    scores = samples.x.new_empty(len(samples))  # one block: small ones between large ones keep memory from being reused
    for (delta, affine), score in zip(parts, scores.split(chunk), strict=True):
        g = (delta[:, :, None] * affine[:, None, :]).flatten(1)
        torch.sum(torch.linalg.solve_triangular(factor, g.T, upper=False).square_(), dim=0, out=score)
        tick()
    return scores


def low_rank_self_influence(
    H: Operator, G: GradientOperator, squared_norms: Tensor, damping: float, rank: int, generator: torch.Generator
) -> tuple[Tensor, int, float]:
    """The self-influence of every row of any model, (n,), with H replaced by VVᵀHVVᵀ = VTVᵀ for a Krylov space's basis
    V from a random start.

        gᵀ(H + λI)⁻¹g ≈ (Vᵀg)ᵀ(T + λI)⁻¹(Vᵀg) + (‖g‖² − ‖Vᵀg‖²) / λ:

    such a space has the largest eigenvalues' directions in it first, and what is outside of it counts as flat, so that
    scores come out too large, by a factor that varies little between rows. Exact once the space is invariant.

    Returns:
        Scores (n,), the dimension of the space, and which part of all Σ‖g‖² is outside of it.
    Cost: up to `rank` products with H, and one pass over the rows; memory of `rank` vectors of p and n.
    Source: Schioppa et al., AAAI 2022, who leave out what is outside.
    """
    start = torch.randn(G.shape[1], generator=generator).to(squared_norms)
    V, T = lanczos(H, start, rank)
    inside = G.times(V)
    factor = _factor(T, damping).to(inside.dtype)
    outside = (squared_norms - inside.square().sum(0)).clamp(min=0)
    scores = torch.linalg.solve_triangular(factor, inside, upper=False).square().sum(0) + outside / damping
    return scores, len(V), float(outside.sum() / squared_norms.sum())


def _factor(H: Tensor, damping: float) -> Tensor:
    """The factor L of H + λI = LLᵀ, from the lower triangle of H, which is written over.

    Raises:
        ValidationError: if it is not positive definite.
    """
    H.diagonal().add_(damping)
    factor: Tensor
    factor, failed = torch.linalg.cholesky_ex(H)
    if int(failed):
        raise ValidationError(
            "influence: self-influence needs H + λI positive definite, which it is not. Raise defense.damping, or use "
            "--set defense.curvature=gauss-newton."
        )
    return factor
