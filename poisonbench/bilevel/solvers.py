"""The linear solvers by name, under one signature."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from poisonbench.bilevel.cg import cg
from poisonbench.bilevel.cgnr import cgnr
from poisonbench.bilevel.exact import exact
from poisonbench.bilevel.hvp import Operator
from poisonbench.bilevel.neumann import neumann
from poisonbench.bilevel.solution import Solution
from poisonbench.errors import UnknownNameError, unknown


class Solve(Protocol):
    """A solver: (H, b) ↦ x with (H + λI) x ≈ b, and the evidence."""

    def __call__(self, H: Operator, b: Tensor, start: Tensor | None = None) -> Solution:
        """Solve (H + λI) x = b, from x = start where there is one, else from 0."""


_SOLVERS = {"cg": cg, "cgnr": cgnr, "neumann": neumann, "exact": exact}
NAMES = tuple(_SOLVERS)


def solver(name: str, damping: float, max_steps: int, rtol: float) -> Solve:
    """The solver called `name` with its settings filled in.

    Raises:
        UnknownNameError: for another name.
    """
    if name not in _SOLVERS:
        raise UnknownNameError(unknown("solver", name, list(_SOLVERS)))
    method = partial(_SOLVERS[name], damping=damping, max_steps=max_steps)

    def solve(H: Operator, b: Tensor, start: Tensor | None = None) -> Solution:
        if start is None:
            return method(H, b, rtol=rtol)
        return _continued(method, H, b, start, damping, rtol)

    return solve


def _continued(
    method: Callable[..., Solution], H: Operator, b: Tensor, start: Tensor, damping: float, rtol: float
) -> Solution:
    """What the method finds from `start` on, at one product more: it solves for the way that is left.

    Where H and b change little from one problem to the next, as in stochastic bilevel optimisation, a few steps from
    the last solution are worth many from 0, and errors of single batches average out (Arbel & Mairal, "Amortized
    implicit differentiation for stochastic bilevel optimization", ICLR 2022).
    """
    left = b - H(start).add_(start, alpha=damping)
    size = float(torch.linalg.vector_norm(left)) / max(float(torch.linalg.vector_norm(b)), torch.finfo(b.dtype).tiny)
    rest = method(H, left, rtol=rtol / size if size > rtol else 1.0)
    return replace(rest, x=rest.x + start, products=rest.products + 1, residual=rest.residual * size)
