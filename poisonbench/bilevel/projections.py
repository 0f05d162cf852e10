"""Euclidean projections onto the sets that poisons must stay in: idempotent and non-expansive."""

from __future__ import annotations

import torch
from torch import Tensor


def project_box(x: Tensor, low: float = 0.0, high: float = 1.0) -> Tensor:
    """The nearest point of [low, high]^d."""
    return x.clamp(low, high)


def project_linf(x: Tensor, centre: Tensor, radius: float) -> Tensor:
    """The nearest point within L∞ distance `radius` of `centre`, elementwise."""
    return torch.minimum(torch.maximum(x, centre - radius), centre + radius)
