"""The losses of linear models that there are closed forms for."""

from __future__ import annotations

from typing import Literal

from poisonbench.errors import ConfigError
from poisonbench.models.base import Model
from poisonbench.models.svm import LinearSVM


def linear_loss(model: Model) -> Literal["hinge", "cross-entropy"] | None:
    """The loss of a linear model, if it is one of these two; the hinge is multi-class. None of a network."""
    if not model.linear:
        return None
    if type(model).losses is LinearSVM.losses:
        return "hinge"
    return "cross-entropy" if type(model).losses is Model.losses else None


def has_hinge(model: Model, author: str) -> bool:
    """Whether the loss of a linear model is the multi-class hinge; else it is cross entropy.

    Raises:
        ConfigError: for any other model, in the name of the author.
    """
    if (loss := linear_loss(model)) is not None:
        return loss == "hinge"
    raise ConfigError(
        f"{author} knows linear models with cross entropy or the multi-class hinge; this one has neither. "
        f"Use --model lr or svm."
    )
