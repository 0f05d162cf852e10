"""A linear function's maximum over a box and a convex set of margins, many problems at once."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

SHRINK = 3.0
"""By how much a step aims to shrink the duality gap: more, and steps are cut short where the constraint curves."""

Constraints = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""(u, v) ↦ g(u), (…, m), its Jacobian, (…, m, K), and Σ v_i ∇²g_i, (…, K, K), of the rivals' margins u, (…, K)."""


def hinge_at_most(tau: float) -> Constraints:
    """The constraints u_j + 1 − τ ≤ 0 for every rival j."""

    def constraints(u: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        eye = torch.eye(u.shape[-1], dtype=u.dtype, device=u.device).expand(*u.shape, u.shape[-1])
        return u + 1 - tau, eye, torch.zeros_like(eye)

    return constraints


def cross_entropy_at_most(tau: float) -> Constraints:
    """The constraint log(1 + Σ_j e^{u_j}) ≤ τ, written as log Σ_j e^{u_j} − log(e^τ − 1) ≤ 0, which is far closer to
    linear in u."""
    limit = math.log(math.expm1(tau))

    def constraints(u: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        total = torch.logsumexp(u, -1, keepdim=True)
        p = (u - total).exp()
        return total - limit, p[..., None, :], v[..., None] * (p.diag_embed() - p[..., :, None] * p[..., None, :])

    return constraints


def linear_maximum(
    c: Tensor,
    A: Tensor,
    a: Tensor,
    low: Tensor,
    high: Tensor,
    start: Tensor,
    constraints: Constraints,
    rtol: float = 1e-5,
    max_steps: int = 60,
) -> Tensor:
    """The points argmax c·x over low ≤ x ≤ high and g(A x + a) ≤ 0, by a primal-dual interior-point method in float64.

    The constraint sees x through the K margins u = A x + a alone, so that a Newton step is a diagonal solve and one of
    size K (Woodbury). It has a slack of its own, g(u) + slack = 0, which a nonlinear g meets only in the limit. A
    problem rests once its surrogate duality gap and that residual are below rtol; the gap is measured in parts of the
    objective's range over the box. 15 to 30 steps are usual.

    Args:
        c: directions, (s, C, k, d): k of them for each of s sources and C labels.
        A: (C, K, d), float64.
        a: (C, 1, K), float64.
        low: (s, 1, 1, d).
        high: (s, 1, 1, d); a pixel whose range is a point stays there.
        start: points strictly inside, (s, C, 1, d) or of c's shape; where they only are strictly inside the box and the
            set is empty, the answer means nothing.
        constraints: g.
        rtol: see above.
        max_steps: after which the point that was reached is the answer.
    Source: after Boyd & Vandenberghe, Convex Optimization, section 11.7.
    """
    K = A.shape[1]
    pairs = (A[:, :, None] * A[:, None]).flatten(1, 2).transpose(1, 2)
    eye = torch.eye(K, dtype=A.dtype, device=A.device)
    low, high = low.double(), high.double()
    reach = (c.double().abs() * (high - low)).sum(-1, keepdim=True)
    slope = c.double() / reach.clamp(min=torch.finfo(reach.dtype).tiny)

    x = start.double().expand(c.shape)
    free = high > low  # the others have a distance of 1 to either end, which no step changes
    below, above, u = torch.where(free, x - low, 1.0), torch.where(free, high - x, 1.0), a + _margins(A, x)
    slack = (-constraints(u, torch.zeros_like(u[..., :1]))[0]).clamp(min=rtol)
    v_low, v_high, v = 1 / below, 1 / above, 1 / slack
    count = 2 * x.shape[-1] + slack.shape[-1]
    for _ in range(max_steps):
        g, J, H = constraints(u, v)
        residual = g + slack
        gap = (v_low * below + v_high * above).sum(-1, keepdim=True) + (v * slack).sum(-1, keepdim=True)
        running = (gap > rtol) | (residual.abs().amax(-1, keepdim=True) > rtol)
        if not bool(running.any()):
            break
        barrier = gap / count / SHRINK

        D = torch.where(free, v_low / below + v_high / above, torch.inf)
        M = H + J.mT @ ((v / slack)[..., None] * J)
        pull = (J.mT @ ((barrier + v * residual) / slack)[..., None])[..., 0]
        r = slope - pull @ A + barrier / below - barrier / above
        S, seen = ((1 / D) @ pairs).unflatten(-1, (K, K)), _margins(A, r / D)
        w, singular = torch.linalg.solve_ex(eye + M @ S, M @ seen[..., None])
        # Duals that grow without end: no point meets these constraints. Such a problem stays where it is.
        solved = (singular == 0)[..., None] & torch.isfinite(w).all(-2)
        w = torch.where(solved, w[..., 0], 0.0)

        dx, du = (r - w @ A) / D, seen - (S @ w[..., None])[..., 0]
        ds = -residual - (J @ du[..., None])[..., 0]
        dv_low = barrier / below - v_low - v_low / below * dx
        dv_high = barrier / above - v_high + v_high / above * dx
        dv = barrier / slack - v - v / slack * ds
        moves = ((below, dx), (above, -dx), (slack, ds), (v_low, dv_low), (v_high, dv_high), (v, dv))
        rate = torch.stack([_longest(value, change) for value, change in moves]).amin(0)
        rate = torch.where(running & solved, rate, 0.0)
        x, u, slack = x + rate * dx, u + rate * du, slack + rate * ds
        below, above = below + rate * dx, above - rate * dx
        v_low, v_high, v = v_low + rate * dv_low, v_high + rate * dv_high, v + rate * dv
    return x.to(c.dtype)


def _margins(A: Tensor, x: Tensor) -> Tensor:
    """The margins A_y x for every source, label and direction: (s, C, k, d) ↦ (s, C, k, K)."""
    return x @ A.mT


def _longest(value: Tensor, change: Tensor) -> Tensor:
    """The longest step, at most 1, that leaves every value positive, less one per cent."""
    ratio = torch.where(change < 0, -value / change, torch.inf).amin(-1, keepdim=True)
    return (0.99 * ratio).clamp(max=1.0)
