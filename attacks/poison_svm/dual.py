"""The soft-margin support vector machine: libsvm's dual solution, then the exact one on the sets that it found."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

TOLERANCES = (1e-3, 1e-5, 1e-7)
"""Of libsvm, in units of the margin: the next is tried where polishing the solution does not end."""
EXACT = 1e-9
"""Largest violation of the KKT conditions that counts as none, for float64 and rows and weights of unit size."""
POLISHING_STEPS = 20
GROWTH = 1000
"""Most rows of a first working set, and most that one round adds to it."""
NEAR = 0.1
"""Rows whose margin is below 1 + NEAR make the next working set."""
RIDGE = 1e-12
"""Of 1 + K_SS's mean diagonal, added to it: the system stays solvable where rows of S are affinely dependent, such as
points that were clipped to one corner. Z_Sᵀp is unique there although p is not."""


@dataclass(frozen=True, eq=False)
class SVM:
    """The weights w, b = argmin ½‖w‖² + C Σ_i max(0, 1 − s_i (w·z_i + b)), labels s_i = ±1, by its dual: w = Σ_i β_i
    z_i.

    Attributes:
        beta: β_i = s_i α_i with 0 ≤ α_i ≤ C and Σ_i β_i = 0, (n,), float64.
        w: (d,).
        b: (), not penalised.
        margin: the margin support vectors S, (n,), bool: 0 < α_i < C and s_i (w·z_i + b) = 1.
        near: rows that may be support vectors of a problem near by, (n,), bool: where to start when z has moved.
        tolerance: what these conditions hold to.
    """

    beta: Tensor
    w: Tensor
    b: Tensor
    margin: Tensor
    near: Tensor
    tolerance: float


def fit(z: Tensor, s: Tensor, C: float, working: Tensor) -> SVM:
    """The SVM of rows z (n, d) with labels s (n,) of ±1, both float64: whether 1 − s_i (w·z_i + b) is 0 or 1e-6 decides
    what is a support vector.

    libsvm solves the dual on a working set of rows; while rows outside it violate the margin, they and those that
    nearly do join it, so that the solution is that of all rows. It is then polished to rounding error.

    Args:
        z: rows.
        s: labels.
        C: bound of α.
        working: the rows of the first working set, (n,), bool; both labels among them.
    Cost: libsvm on the working set, whose Gram matrix is held, and a product with z for each round.
    """
    for tolerance in TOLERANCES:
        while True:
            beta, b = _libsvm(z, s, C, working, tolerance)
            w = beta @ z
            slack = s * (z @ w + b) - 1
            outside = slack.masked_fill(working, torch.inf)
            if float(outside.min()) >= -tolerance:
                break
            worst = outside.argsort(stable=True)[:GROWTH]
            working = working.index_fill(0, worst[outside[worst] < NEAR], True)
        polished = _polish(z, s, C, beta, b)
        if polished is not None:
            return polished
    alpha = s * beta
    return SVM(beta, w, b, (alpha > 0) & (alpha < C), slack < NEAR, tolerance)


def first_working_set(s: Tensor) -> Tensor:
    """A first working set: the first rows of each label."""
    return ((s > 0) & ((s > 0).cumsum(0) <= GROWTH // 2)) | ((s < 0) & ((s < 0).cumsum(0) <= GROWTH // 2))


def solve_margin(z: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """The solution p (m,) and q () of [K 1; 1ᵀ 0] [p; q] = [u; v] with K = z zᵀ: the KKT system of margin support
    vectors z (m, d), m ≥ 1."""
    m = len(z)
    system = z.new_ones(m + 1, m + 1)
    system[:m, :m] = z @ z.T
    system.diagonal()[:m] += RIDGE * (1 + system.diagonal()[:m].mean())
    system[m, m] = 0
    solution = torch.linalg.solve(system, torch.cat([u, v.view(1)]))
    return solution[:m], solution[m]


def _libsvm(z: Tensor, s: Tensor, C: float, working: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    """libsvm's β (n,), zero outside the working set, and b."""
    from sklearn.svm import SVC  # here, because importing scikit-learn takes a second

    rows = z[working]
    # With no random state, scikit-learn draws a seed from numpy's global generator, although nothing here is random.
    svc = SVC(C=C, kernel="precomputed", tol=tolerance, random_state=0)
    svc.fit((rows @ rows.T).cpu().numpy(), s[working].cpu().numpy())
    support = torch.nonzero(working).flatten()[torch.from_numpy(svc.support_).to(z.device, torch.int64)]
    beta = torch.zeros_like(s).index_copy(0, support, torch.from_numpy(svc.dual_coef_[0]).to(s))
    return beta, torch.as_tensor(svc.intercept_[0]).to(s)


def _polish(z: Tensor, s: Tensor, C: float, beta: Tensor, b: Tensor) -> SVM | None:
    """Newton's method on the KKT conditions: given which α are 0, C and between, take the step of β_S and b to them, a
    short one where it is not unique; move each row that contradicts its set to another, until none does. None if that
    does not end."""
    lower, upper = s * beta <= 0, s * beta >= C
    for _ in range(POLISHING_STEPS):
        margin = ~(lower | upper)
        beta = torch.where(upper, C * s, beta).masked_fill(lower, 0)
        if bool(margin.any()):
            z_S = z[margin]
            step, change = solve_margin(z_S, s[margin] - z_S @ (beta @ z) - b, -beta.sum())
            beta, b = beta.masked_scatter(margin, beta[margin] + step), b + change
        w = beta @ z
        alpha, slack = s * beta, s * (z @ w + b) - 1
        below, above = alpha < -EXACT, alpha > C + EXACT
        missing, needless = lower & (slack < -EXACT), upper & (slack > EXACT)
        if not bool((below | above | missing | needless).any()) and float(beta.sum().abs()) <= EXACT:
            return SVM(beta, w, b, margin, slack < NEAR, EXACT)
        lower, upper = (lower & ~missing) | below, (upper & ~needless) | above
    return None
