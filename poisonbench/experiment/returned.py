"""What a method hands back, before anything of ours relies on it: plain tensors that can be kept, or a line."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from poisonbench.errors import ValidationError
from poisonbench.problem.predictor import Predictor, Vote
from poisonbench.problem.samples import PoisonSet, Weights
from poisonbench.problem.views import Defended

_KEPT = frozenset({
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
    torch.float16, torch.bfloat16, torch.float32, torch.float64,
})  # fmt: skip
"""Types that a file can hold and every rule can compare."""


def poison_tensors(author: str, poison: object) -> dict[str, Tensor]:
    """The tensors of a poison set, by name, on the CPU.

    Raises:
        ValidationError: if it is no poison set of plain tensors.
    """
    if not isinstance(poison, PoisonSet):
        raise ValidationError(f"{author} must return a PoisonSet, not a {type(poison).__name__}.")
    if not isinstance(poison.stats, Mapping):
        raise ValidationError(f"{author} must return `stats` as a mapping, not a {type(poison.stats).__name__}.")
    return {name: plain_tensor(author, name, getattr(poison, name)) for name in ("x", "y", "source")}


def plain_defended(author: str, defended: object) -> Defended:
    """The same of what a defense returns: the weights of each model, `kept` and scores as plain tensors on the CPU.

    Raises:
        ValidationError: if it is not that.
    """
    if not isinstance(defended, Defended):
        raise ValidationError(f"{author} must return a Defended, not a {type(defended).__name__}.")
    if not isinstance(defended.stats, Mapping) or not all(isinstance(key, str) for key in defended.stats):
        raise ValidationError(
            f"{author} must return `stats` as a mapping by name, not a {type(defended.stats).__name__}."
        )
    return Defended(
        _plain_predictor(author, defended.predictor),
        plain_tensor(author, "kept", defended.kept),
        None if defended.scores is None else plain_tensor(author, "scores", defended.scores),
        defended.stats,
    )


def _plain_predictor(author: str, predictor: object) -> Predictor:
    if not isinstance(predictor, Vote):
        return plain_weights(author, predictor)
    if not isinstance(predictor.models, tuple) or not predictor.models:
        raise ValidationError(f"{author} must return a Vote of a tuple of models, at least one.")
    return Vote(tuple(plain_weights(author, model) for model in predictor.models))


def plain_weights(author: str, weights: object) -> Weights:
    """Weights of one model as plain tensors on the CPU.

    Raises:
        ValidationError: if they are none.
    """
    if not isinstance(weights, Mapping) or not all(isinstance(key, str) for key in weights):
        raise ValidationError(f"{author} must return weights as a mapping by name, not a {type(weights).__name__}.")
    return {name: plain_tensor(author, f"weights {name}", value) for name, value in weights.items()}


def plain_tensor(author: str, name: str, value: object) -> Tensor:
    """A tensor without a graph, on the CPU.

    Raises:
        ValidationError: if it is none, is sparse, nested, without content, or of a type that no file holds.
    """
    if not isinstance(value, Tensor):
        raise ValidationError(f"{author} must return `{name}` as a tensor, not a {type(value).__name__}.")
    if value.is_nested or value.layout != torch.strided:
        layout = "nested" if value.is_nested else str(value.layout).removeprefix("torch.")
        raise ValidationError(f"{author} must return `{name}` as a dense tensor, not a {layout} one.")
    if value.is_meta:
        raise ValidationError(f"{author} must return `{name}` with content, not on the meta device.")
    if value.dtype not in _KEPT:
        raise ValidationError(f"{author} must return `{name}` as real numbers, not {value.dtype}.")
    return value.detach().cpu().as_subclass(Tensor).clone()
