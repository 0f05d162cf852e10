"""What an outer step of TGDA keeps of those before it: the gradient of one batch of D_v is mostly noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Past:
    """Two vectors that a loop's state holds: they are changed in place, and are zero before the first step.

    Attributes:
        outer: the exponential mean of ∇_w ℓ over the outer steps, (p,).
        solution: the last x with (∇²_ww f + λI) x ≈ outer, (p,).
    """

    outer: Tensor
    solution: Tensor

    @classmethod
    def begin(cls, p: int, like: Tensor) -> dict[str, Tensor]:
        """A loop's first state of it, for p weights, on the device of `like`."""
        return {"past/outer": like.new_zeros(p), "past/solution": like.new_zeros(p)}

    @classmethod
    def at(cls, state: Mapping[str, Tensor]) -> Past:
        """The one that a loop's state holds."""
        return cls(state["past/outer"], state["past/solution"])

    @torch.no_grad()
    def mean_outer(self, outer: Tensor, averaging: float) -> Tensor:
        """The mean with one more ∇_w ℓ in it, of weight 1 − averaging."""
        return self.outer.mul_(averaging).add_(outer, alpha=1.0 - averaging)
