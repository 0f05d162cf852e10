"""The linear solvers by name, under one signature."""

from __future__ import annotations

from functools import partial
from typing import Protocol

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

    def __call__(self, H: Operator, b: Tensor) -> Solution:
        """Solve (H + λI) x = b."""


_SOLVERS = {"cg": cg, "cgnr": cgnr, "neumann": neumann, "exact": exact}
NAMES = tuple(_SOLVERS)


def solver(name: str, damping: float, max_steps: int, rtol: float) -> Solve:
    """The solver called `name` with its settings filled in.

    Raises:
        UnknownNameError: for another name.
    """
    if name not in _SOLVERS:
        raise UnknownNameError(unknown("solver", name, list(_SOLVERS)))
    return partial(_SOLVERS[name], damping=damping, max_steps=max_steps, rtol=rtol)
