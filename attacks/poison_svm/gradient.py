"""How the validation hinge loss of a support vector machine changes with the rows that it was trained on."""

from __future__ import annotations

import torch
from torch import Tensor

from poisonbench.attacks.poison_svm.dual import SVM, solve_margin


def hinge_loss(svm: SVM, z: Tensor, s: Tensor) -> Tensor:
    """The mean hinge loss L = mean_k max(0, 1 − s_k (w·z_k + b)) over rows z (k, d) with labels s (k,) of ±1."""
    return (1 - s * (z @ svm.w + svm.b)).clamp(min=0).mean()


def hinge_gradient(svm: SVM, z: Tensor, rows: slice, held_out_z: Tensor, held_out_s: Tensor) -> Tensor:
    """The gradient ∇L of held-out rows with respect to rows that the SVM was trained on, labels fixed.

    Moving rows c by dz_c changes the SVM by dβ_S and db: the margin support vectors S stay on the margin, the others at
    α = 0 or C, so that

        dw = Σ_S dβ_s z_s + Σ_c β_c dz_c,    z_s·dw + db + w·dz_s = 0 for s ∈ S,    Σ_S dβ_s = 0,

    while dL = −a·dw − h db, with a and h the means of s_k z_k and s_k, where rows k outside the margin count as 0. One
    solve of the adjoint system, [K_SS 1; 1ᵀ 0] [p; q] = [Z_S a; h], serves every row:

        ∇_c L = −β_c v + p_c w,    v = a − Z_Sᵀ p,    p_c = 0 for c ∉ S.

    For a linear kernel this is the gradient of Biggio, Nelson & Laskov, who leave out what a row on the margin adds to
    its own condition, w·dz_c. It is 0 where α_c = 0, and exact while no row changes sets. If S is empty, w does not
    determine b, which is then held.

    Args:
        svm: trained on z.
        z: its rows, (n, d).
        rows: those that move, m of them.
        held_out_z: (k, d).
        held_out_s: their labels, ±1, (k,).
    Returns:
        ∇L, (m, d).
    Cost: one linear system of |S| + 1 unknowns, and products with Z_S and the held-out rows.
    """
    inside = held_out_s * (held_out_z @ svm.w + svm.b) < 1
    weights = torch.where(inside, held_out_s, 0.0) / len(held_out_s)
    v = weights @ held_out_z
    p = torch.zeros_like(svm.beta)
    if bool(svm.margin.any()):
        z_S = z[svm.margin]
        p_S, _ = solve_margin(z_S, z_S @ v, weights.sum())
        p, v = p.masked_scatter(svm.margin, p_S), v - p_S @ z_S
    return p[rows, None] * svm.w - svm.beta[rows, None] * v
