"""Adam on the pixels of a poison set."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim.adam import adam


def pixel_state(x: Tensor) -> dict[str, Tensor]:
    """The images "x" and Adam's moments "first" and "second", as a loop's state."""
    return {"x": x.clone(), "first": torch.zeros_like(x), "second": torch.zeros_like(x)}


def adam_descend(state: dict[str, Tensor], gradient: Tensor, rate: float, step: int) -> None:
    """Take step number `step`, from 0, of torch's Adam on the state that `pixel_state` made."""
    state["x"] = state["x"].clone()
    adam(
        [state["x"]],
        [gradient],
        [state["first"]],
        [state["second"]],
        [],
        [torch.tensor(float(step))],
        amsgrad=False,
        beta1=0.9,
        beta2=0.999,
        lr=rate,
        weight_decay=0.0,
        eps=1e-8,
        maximize=False,
    )
