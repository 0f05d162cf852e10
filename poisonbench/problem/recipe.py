"""How models are trained: the settings of the one training loop."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from poisonbench.errors import ConfigError


@dataclass(frozen=True)
class Recipe:
    """The settings that a model is trained with.

    Attributes:
        optimizer: sgd (with momentum and weight decay as torch.optim.SGD has them) or adam (β = 0.9, 0.999).
        lr: step size.
        momentum: of sgd.
        weight_decay: L2 coefficient, added to the gradient.
        batch_size: rows a step; the last step of an epoch takes what is left.
        epochs: passes over the data.
        schedule: constant, or cosine from lr to 0 over the epochs.
        augmentation: none, or flips-and-crops: every step sees its rows mirrored and moved at random. Attacks that
            unroll a training, or cancel the gradient where it ends, do so without.
    """

    optimizer: Literal["sgd", "adam"] = "sgd"
    lr: float = 0.1
    momentum: float = 0.0
    weight_decay: float = 0.0
    batch_size: int = 1000
    epochs: int = 100
    schedule: Literal["constant", "cosine"] = "constant"
    augmentation: Literal["none", "flips-and-crops"] = "none"

    def __post_init__(self) -> None:
        if self.optimizer == "adam" and self.momentum:
            raise ConfigError("recipe.momentum belongs to sgd; adam has its own.")

    def document(self) -> dict[str, Any]:
        """The settings by name, for hashes: without an augmentation that is none, which is how they began."""
        return {name: value for name, value in vars(self).items() if name != "augmentation" or value != "none"}

    def rate(self, epoch: int) -> float:
        """The step size of an epoch."""
        if self.schedule == "cosine":
            return self.lr * (1 + math.cos(math.pi * epoch / self.epochs)) / 2
        return self.lr
