"""Derivatives along a direction in one forward pass."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.func import jvp


def along(f: Callable[..., Tensor], at: tuple[Any, ...], direction: tuple[Any, ...]) -> tuple[Tensor, Tensor]:
    """The value f(x) and its derivative along v, both of f's shape.

    Args:
        f: a differentiable function.
        at: its arguments x, tensors or dictionaries of tensors.
        direction: v, of the same structure.
    Cost: about two forward passes.
    """
    with warnings.catch_warnings():
        # PyTorch 2.14's forward mode sets itself up, once, with its own deprecated torch.jit.script.
        warnings.filterwarnings("ignore", "`torch.jit", FutureWarning)
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        found = jvp(f, at, direction)
    return found[0], found[1]
