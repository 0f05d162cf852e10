"""The only training loop of the project: pretraining, retraining and the leader's pretraining run `minimise`, and a
follower's step takes the same gradient and `descend`; so acc1 and acc2 differ in their data alone."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from poisonbench.augmentation import flipped_and_cropped
from poisonbench.errors import DivergedError
from poisonbench.identity.tensors import tensor_hash
from poisonbench.models.base import Model
from poisonbench.problem.procedure import Batch, Procedure, State
from poisonbench.problem.recipe import Recipe
from poisonbench.problem.samples import Samples, Weights
from poisonbench.seeding import child_generator
from poisonbench.stages.stage import Stage

BatchGradient = Callable[[Weights, Tensor], tuple[Tensor, list[Tensor]]]
"""(weights, rows) ↦ mean loss of those rows, and its gradient: weights that are no buffers, alphabetically by name."""

Watch = Callable[[Weights], dict[str, float]]
"""weights ↦ figures by name."""

Begin = Callable[[int, Weights], Tensor | None]
"""(epoch, weights) ↦ the rows that the epoch goes through, (n,), bool; None for all."""

_TAKEN = "adam/steps"
"""How many steps were taken, in the state of a loop whose epochs may leave rows out."""


def train(
    model: Model,
    samples: Samples,
    recipe: Recipe,
    stage: Stage,
    task: str,
    procedure: Procedure | None = None,
    watch: Watch | None = None,
) -> Weights:
    """Train a model from scratch on samples.

    The initial weights and every epoch's order come from the stage's generator, in that order.

    Args:
        model: the architecture.
        samples: rows; of none, the initial weights come back.
        recipe: optimizer, step size, batches, epochs.
        stage: generator, progress, checkpoint, deadline.
        task: the loop's name on the bar and in the checkpoint.
        procedure: how the run departs from plain training; None if it does not. Whatever it and the recipe's
            augmentation draw, weights and orders are drawn as without them: their generators are children of the
            stage's for the rows of the batch, or the epoch.
        watch: figures of the weights for the loop's trace, untimed; it changes nothing.
    Returns:
        Weights on the stage's device.
    Raises:
        DivergedError: at the end of an epoch whose loss is not finite; names epoch and learning rate.
        StageTimeoutError: past the deadline.
    """
    weights = {name: value.to(stage.device) for name, value in model.init(stage.generator).items()}
    x, y = samples.x, samples.y
    augmented = recipe.augmentation != "none"
    whole = model.normalise(x) if procedure is None and not augmented else None
    seed, epoch = stage.generator.initial_seed(), 0
    kept: State = {} if procedure is None else procedure.state(samples)

    def begin(number: int, weights: Weights) -> Tensor | None:
        nonlocal epoch
        epoch = number
        generator = child_generator(seed, "epoch", str(number))
        return None if procedure is None else procedure.epoch(number, weights, kept, generator)

    def batch_gradient(weights: Weights, rows: Tensor) -> tuple[Tensor, list[Tensor]]:
        if whole is not None:
            return model.gradient(weights, whole.index_select(0, rows), y.index_select(0, rows))
        images, name = x.index_select(0, rows), tensor_hash(rows)
        if augmented:
            images = flipped_and_cropped(images, child_generator(seed, "augmentation", name))
        if procedure is None:
            return model.gradient(weights, model.normalise(images), y[rows])
        batch = procedure.batch(weights, Batch(rows, images, y[rows]), kept, child_generator(seed, "substitute", name))
        generator = child_generator(seed, "gradient", str(epoch), name)
        return procedure.gradient(model, weights, batch, kept, generator)

    if not len(samples):
        return weights
    last = minimise(
        batch_gradient,
        weights,
        model.buffers,
        len(samples),
        recipe,
        stage,
        task,
        watch,
        begin if procedure else None,
        kept,
    )
    return procedure.result(last, kept) if procedure else last


def minimise(
    batch_gradient: BatchGradient,
    weights: Weights,
    buffers: frozenset[str],
    n: int,
    recipe: Recipe,
    stage: Stage,
    task: str,
    watch: Watch | None = None,
    begin: Begin | None = None,
    kept: State | None = None,
) -> Weights:
    """Minimise a mean of n rows' losses over minibatches; the loop behind every training run.

    Args:
        batch_gradient: (weights, rows) ↦ mean loss and gradient.
        weights: where to start; not changed.
        buffers: names among them that the loss itself moves.
        n: number of rows.
        recipe: optimizer, step size, batches, epochs.
        stage: generator for the order of rows; progress; checkpoint; deadline.
        task: the loop's name on the bar and in the checkpoint.
        watch: figures of the weights for the loop's trace, untimed.
        begin: called before every epoch, for the rows that it goes through.
        kept: what `begin` and `batch_gradient` keep from step to step, saved with the loop.
    """
    kept = {} if kept is None else kept
    names = sorted(weights.keys() - buffers)
    state = {name: value.clone() for name, value in weights.items()}
    state |= {f"{slot}/{name}": torch.zeros_like(state[name]) for slot in _slots(recipe) for name in names}
    state |= {f"kept/{name}": value for name, value in kept.items()}
    if recipe.optimizer == "adam" and begin is not None:
        state[_TAKEN] = torch.zeros((), dtype=torch.int64)
    for epoch in stage.steps(task, recipe.epochs, state):
        kept.update({name: state[f"kept/{name}"] for name in kept})
        leaves = {name: state[name].requires_grad_(name in names) for name in weights}
        parameters = [leaves[name] for name in names]
        slots = [[state[f"{slot}/{name}"] for name in names] for slot in _slots(recipe)]
        order = torch.randperm(n, generator=stage.generator).to(stage.device)
        if begin is not None and (chosen := begin(epoch, leaves)) is not None:
            order = order[chosen[order]]
        total = torch.zeros((), device=stage.device)
        # Elsewhere every epoch so far went through all rows, and the loop's saves need not tell.
        done = int(state[_TAKEN]) if _TAKEN in state else epoch * math.ceil(n / recipe.batch_size)
        for rows in order.split(recipe.batch_size):
            loss, gradients = batch_gradient(leaves, rows)
            _update(parameters, gradients, slots, recipe, recipe.rate(epoch), done)
            total += loss * len(rows)
            done += 1
        if _TAKEN in state:
            state[_TAKEN] = torch.tensor(done)
        for name in names:
            state[name] = leaves[name].detach()
        state |= {f"kept/{name}": value for name, value in kept.items()}
        mean = float(total) / len(order)
        if not math.isfinite(mean):
            raise DivergedError(
                f"{task} diverged: loss {mean} at epoch {epoch + 1} of {recipe.epochs} with learning rate "
                f"{recipe.rate(epoch):g}. Lower recipe.lr."
            )
        stage.report(loss=mean)
        if watch is not None and stage.traced(epoch, recipe.epochs):
            with stage.untimed():
                stage.report(**watch({name: state[name].detach() for name in weights}))
    kept.update({name: state[f"kept/{name}"] for name in kept})  # a loop that was finished before has run no epoch
    return {name: state[name].detach() for name in weights}


@torch.no_grad()
def descend(parameters: list[Tensor], gradients: list[Tensor], rate: float) -> None:
    """One step of gradient descent, in place."""
    for parameter, part in zip(parameters, gradients, strict=True):
        parameter.add_(part, alpha=-rate)


def _slots(recipe: Recipe) -> tuple[str, ...]:
    if recipe.optimizer == "adam":
        return ("first", "second")
    return ("velocity",) if recipe.momentum else ()


@torch.no_grad()
def _update(
    parameters: list[Tensor],
    gradients: list[Tensor],
    slots: list[list[Tensor]],
    recipe: Recipe,
    rate: float,
    done: int,
) -> None:
    """One optimizer step, in place, with torch.optim's conventions (checked against it in tests/oracle)."""
    steps = gradients
    if recipe.weight_decay:
        steps = [
            step.add(parameter, alpha=recipe.weight_decay) for step, parameter in zip(steps, parameters, strict=True)
        ]
    if recipe.optimizer == "adam":
        beta1, beta2, tiny = 0.9, 0.999, 1e-8
        correction1, correction2 = 1 - beta1 ** (done + 1), 1 - beta2 ** (done + 1)
        for parameter, step, first, second in zip(parameters, steps, *slots, strict=True):
            first.lerp_(step, 1 - beta1)
            second.mul_(beta2).addcmul_(step, step, value=1 - beta2)
            scale = (second.sqrt() / correction2**0.5).add_(tiny)
            parameter.addcdiv_(first, scale, value=-rate / correction1)
        return
    if recipe.momentum:
        for step, velocity in zip(steps, slots[0], strict=True):
            velocity.mul_(recipe.momentum).add_(step)
        steps = slots[0]
    descend(parameters, steps, rate)
