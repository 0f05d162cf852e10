"""The direction of a step of pixels along their gradient."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Step = Literal["normalised", "raw", "sign"]
"""normalised divides each point's gradient by its L2 norm, so that a step's size is a distance in pixels; sign takes
signs; raw takes the gradient as it is."""


def direction(gradient: Tensor, step: Step) -> Tensor:
    """Where each point goes, of the shape of its gradient, (n, channels, height, width). One stays whose gradient has a
    norm of 0 in its precision."""
    if step == "raw":
        return gradient
    if step == "sign":
        return gradient.sign()
    norm = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
    unit: Tensor = gradient / norm.masked_fill(norm == 0, torch.inf).view(-1, 1, 1, 1)
    return unit
