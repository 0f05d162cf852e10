"""A defense's procedure as the harness runs it: on copies, all that it returns looked at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from poisonbench.errors import ValidationError
from poisonbench.guard.process_state import COMPUTING, ProcessState
from poisonbench.models.base import Model
from poisonbench.problem.procedure import Batch, Procedure, State
from poisonbench.problem.samples import Samples, Weights

_Shape = tuple[torch.Size, torch.dtype, torch.device]


class CheckedProcedure(Procedure):
    """The procedure with weights, rows and labels of its own in each call, whatever else it does undone.

    Raises, from any call:
        ValidationError: if it returns what no step of training could be taken on.
    """

    def __init__(self, procedure: Procedure, author: str, classes: int) -> None:
        self._author, self._classes = author, classes
        self._require(isinstance(procedure, Procedure), f"train by a Procedure, not a {type(procedure).__name__}")
        self._procedure, self._kept, self._rows = procedure, dict[str, _Shape](), 0

    def state(self, samples: Samples) -> State:
        """See Procedure."""
        with _undone():
            state = self._procedure.state(samples.copy())
        self._require(isinstance(state, dict) and all(map(_dense, state.values())), "keep dense tensors by name")
        state = {str(name): value.detach().clone() for name, value in state.items()}
        self._kept, self._rows = {name: _shape(value) for name, value in state.items()}, len(samples)
        return state

    def epoch(self, number: int, weights: Weights, state: State, generator: torch.Generator) -> Tensor | None:
        """See Procedure."""
        with _undone():
            chosen = self._procedure.epoch(number, _copies(weights), state, generator)
        self._require_kept(state)
        if chosen is not None:
            sound = _dense(chosen) and chosen.dtype == torch.bool and chosen.shape == (self._rows,)
            sound = sound and bool(chosen.any())
            self._require(sound, "choose an epoch's rows as one boolean a row, some of them true")
        return chosen

    def batch(self, weights: Weights, batch: Batch, state: State, generator: torch.Generator) -> Batch:
        """See Procedure."""
        given = Batch(batch.rows.clone(), batch.x, batch.y.clone())
        with _undone():
            made = self._procedure.batch(_copies(weights), given, state, generator)
        self._require_kept(state)
        self._require(isinstance(made, Batch), f"give a Batch in the place of a batch, not a {type(made).__name__}")
        n, like = len(batch.y), batch.x
        images = f"give images of shape {tuple(like.shape)} and {like.dtype}"
        self._require(_dense(made.x) and _shape(made.x) == _shape(like), images)
        hard, soft = _shape(batch.y), (torch.Size((n, self._classes)), like.dtype, like.device)
        labels = f"give {n} labels, or {n} rows of {self._classes} probabilities"
        self._require(_dense(made.y) and _shape(made.y) in (hard, soft), labels)
        if made.weights is not None:
            counts = _dense(made.weights) and _shape(made.weights) == (torch.Size((n,)), like.dtype, like.device)
            self._require(counts, f"give one weight for each of {n} rows")
        weight = None if made.weights is None else made.weights.detach()
        return Batch(batch.rows, made.x.detach(), made.y.detach(), weight)

    def gradient(
        self, model: Model, weights: Weights, batch: Batch, state: State, generator: torch.Generator
    ) -> tuple[Tensor, list[Tensor]]:
        """See Procedure."""
        if type(self._procedure).gradient is Procedure.gradient:
            return super().gradient(model, weights, batch, state, generator)
        leaves = {name: value.requires_grad_(weights[name].requires_grad) for name, value in _copies(weights).items()}
        with _undone():
            made = self._procedure.gradient(model, leaves, batch, state, generator)
        self._require_kept(state)
        what = "give a loss and a gradient like the model's parameters"
        self._require(isinstance(made, tuple) and len(made) == 2 and isinstance(made[1], list), what)
        loss, gradients = made
        parameters = [_shape(value) for value in model.parameters(weights).values()]
        self._require(_dense(loss) and loss.dim() == 0 and all(map(_dense, gradients)), what)
        self._require([_shape(part) for part in gradients] == parameters, what)
        for name in model.buffers:
            weights[name].copy_(leaves[name])
        return loss.detach(), [part.detach() for part in gradients]

    def result(self, weights: Weights, state: State) -> Weights:
        """See Procedure."""
        with _undone():
            made = self._procedure.result(_copies(weights), state)
        expected = {name: _shape(value) for name, value in weights.items()}
        sound = isinstance(made, dict) and all(map(_dense, made.values()))
        self._require(
            sound and {name: _shape(value) for name, value in made.items()} == expected, "return weights of the model"
        )
        return {name: value.detach() for name, value in made.items()}

    def _require_kept(self, state: State) -> None:
        found = {name: _shape(value) for name, value in state.items() if _dense(value)}
        self._require(
            len(found) == len(state) and found == self._kept, "keep the state that it began with, by name and shape"
        )

    def _require(self, holds: bool, what: str) -> None:
        if not holds:
            raise ValidationError(f"{self._author} must {what}.")


@contextmanager
def _undone() -> Iterator[None]:
    """Run a method's code in a step of training, and put back what it changed in the process's modes."""
    ours = ProcessState.now(COMPUTING)
    try:
        yield
    finally:
        ours.restore()


def _copies(weights: Weights) -> Weights:
    return {name: value.detach().clone() for name, value in weights.items()}


def _dense(value: object) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided and not value.is_meta


def _shape(value: Tensor) -> _Shape:
    return value.shape, value.dtype, value.device
