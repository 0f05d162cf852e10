"""Gradients that are clipped to a norm."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def shortened(rate: float, gradients: Sequence[Tensor], clip: float | None) -> float:
    """The step size for gradients that are clipped to a norm, over all of them; `rate` itself where they are not
    longer, and where `clip` is None. Cost: one norm."""
    if clip is None:
        return rate
    norm = float(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(part) for part in gradients])))
    return rate if norm <= clip else rate * clip / norm
