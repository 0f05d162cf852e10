"""Adam on the weights of one player among several, for a loop whose state holds them all."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim.adam import adam

from poisonbench.problem.samples import Weights


def moments(weights: Weights) -> Weights:
    """Adam's moments before the first step, by the name of their weight after "first/" and "second/"."""
    return {
        f"{slot}/{name}": torch.zeros_like(value) for slot in ("first", "second") for name, value in weights.items()
    }


@torch.no_grad()
def adam_step(
    weights: Weights, state: Weights, player: str, gradients: Sequence[Tensor], rate: float, step: int
) -> None:
    """Take step number `step`, from 0, of torch's Adam with β = (0.5, 0.999), DCGAN's, in place.

    Args:
        weights: the player's.
        state: of the loop; has the moments under "<player>/first/…" and "<player>/second/…".
        player: its name in the state.
        gradients: of what descends, in the order of `weights`.
        rate: step size.
        step: how many went before.
    """
    adam(
        list(weights.values()),
        list(gradients),
        [state[f"{player}/first/{name}"] for name in weights],
        [state[f"{player}/second/{name}"] for name in weights],
        [],
        [torch.tensor(float(step)) for _ in weights],
        amsgrad=False,
        beta1=0.5,
        beta2=0.999,
        lr=rate,
        weight_decay=0.0,
        eps=1e-8,
        maximize=False,
    )
