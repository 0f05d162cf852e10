"""The losses of linear models that there are closed forms for."""

from __future__ import annotations

from poisonbench.errors import ConfigError
from poisonbench.models.base import Model
from poisonbench.models.svm import LinearSVM


def has_hinge(model: Model, author: str) -> bool:
    """Whether the loss of a linear model is the multi-class hinge; else it is cross entropy.

    Raises:
        ConfigError: for any other model, in the name of the author.
    """
    if type(model).losses is LinearSVM.losses:
        return True
    if model.linear and type(model).losses is Model.losses:
        return False
    raise ConfigError(
        f"{author} knows linear models with cross entropy or the multi-class hinge; this one has neither. "
        f"Use --model lr or svm."
    )
