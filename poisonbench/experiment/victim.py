"""The victim's side of a cell: how it trains, how it defends itself, how it is tested."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from poisonbench.defenses.base import Defense, known_to, refuse_unsound_kept
from poisonbench.errors import ValidationError
from poisonbench.experiment.cell import Cell, code_of
from poisonbench.experiment.checked_procedure import CheckedProcedure
from poisonbench.experiment.kept import UNCHECKED, Trainings
from poisonbench.experiment.returned import plain_defended
from poisonbench.guard.method_errors import one_line_errors
from poisonbench.identity.tensors import tensor_hash
from poisonbench.identity.versions import engine_hash
from poisonbench.models.base import Model
from poisonbench.plugins.registry import name_of
from poisonbench.problem.predictor import Predictor, Vote, models_of, winners
from poisonbench.problem.procedure import Procedure
from poisonbench.problem.samples import Dataset, Samples, Weights
from poisonbench.problem.views import Defended, DefenderView
from poisonbench.process.environment import PeakMemory
from poisonbench.stages.cache import StageCache, StageResult
from poisonbench.stages.stage import Stage
from poisonbench.store.canonical import plain
from poisonbench.store.record_origin import Artifact
from poisonbench.store.record_results import Answers
from poisonbench.training import train

_WEIGHT, _MODELS = "weights/", "models"

ACCURACY, EPOCHS = "test_accuracy", "epochs"
"""Facts of a training run: percent, after which epochs."""


@dataclass(frozen=True)
class DefenseRun:
    """What a defense made of a training set, as read back from disk.

    Attributes:
        predictor: what is tested, on the CPU.
        kept: rows it was trained on, (n,), bool, on the CPU.
        stats: the defense's own evidence.
        trusted: how many clean rows it was shown.
        retrain_s: seconds its trainings cost when they were computed.
        defense_s: seconds of everything else.
        memory: peak while it was at work, MiB, trainings included.
        artifact: the file.
    """

    predictor: Predictor
    kept: Tensor
    stats: Mapping[str, Any]
    trusted: int
    retrain_s: float
    defense_s: float
    memory: Mapping[str, float | None]
    artifact: Artifact


@dataclass(frozen=True)
class Victim:
    """Trains, defends and tests for one cell; whatever was done before, by any cell, comes from the store.

    Attributes:
        cell: defense, recipe, seed.
        dataset: its test set is seen by `predictions` alone.
        trusted: the clean rows of a defense that declares to use some.
        stages: store, device, progress, deadline.
        memory: of the cell.
    """

    cell: Cell
    dataset: Dataset
    trusted: Samples
    stages: StageCache
    memory: PeakMemory

    @property
    def shown_trusted(self) -> Samples:
        """The trusted rows that the defense is shown: none if it declares none."""
        return self.trusted if self.cell.defense.trusted_data else self.trusted.none()

    def fit(
        self,
        model: Model,
        samples: Samples,
        task: str,
        procedure: Procedure | None = None,
        call: int = 0,
        watched: bool = True,
    ) -> StageResult:
        """Train from scratch. The random stream is the same for every training of a seed, so that runs differ in their
        data alone, or in the procedure of the defense's `call`-th training. Test accuracy by epoch is among
        the facts (ACCURACY, EPOCHS) of one that is watched, beside the clock and out of every method's sight."""
        recipe = self.cell.recipe_of(type(model))
        inputs: dict[str, Any] = {
            "model": code_of(model),
            "dataset": self.dataset.sha256,
            "rows": tensor_hash(samples.x, samples.y),
            "recipe": recipe.document(),
            "engine": engine_hash(),
        }
        if procedure is not None:
            trusted = self.shown_trusted  # a procedure may look at them, as early stopping does
            shown = tensor_hash(trusted.x, trusted.y)
            inputs |= {"procedure": code_of(self.cell.defense), "call": call, "trusted": shown}

        def compute(stage: Stage) -> tuple[Weights, dict[str, Any]]:
            with one_line_errors("training"):
                author, classes = self.cell.defense.name, self.dataset.classes
                checked = None if procedure is None else CheckedProcedure(procedure, author, classes)
                weights = train(model, samples, recipe, stage, task, checked, watch if watched else None)
            trace = stage.traces[task] if watched else {"step": [], ACCURACY: []}
            return weights, {EPOCHS: trace["step"], ACCURACY: trace[ACCURACY]}

        def watch(weights: Weights) -> dict[str, float]:
            return {ACCURACY: percent(self.predictions(model, weights) == self.dataset.test.y.cpu())}

        return self.stages.get_or_compute("weights", inputs, (self.cell.seed, "train"), compute)

    def defend(self, model: Model, rows: Samples, poison: Tensor) -> DefenseRun:
        """Hand a training set to the cell's defense; its trainings and the rest of its work are timed apart.

        Args:
            model: the target.
            rows: what is to be trained on.
            poison: which of them are, (n,), bool; an oracle alone is told.
        """
        cell, device = self.cell, self.stages.device
        everything = DefenderView(rows, self.trusted, model, cell.recipe, self.dataset.classes, poison)
        shown = known_to(cell.defense, everything)
        inputs = {
            "defense": code_of(cell.defense),
            "model": code_of(model),
            "rows": tensor_hash(rows.x, rows.y),
            "trusted": tensor_hash(shown.trusted.x, shown.trusted.y),
            "recipe": cell.recipe.document(),
            "engine": engine_hash(),
        }
        if shown.poison is not None:
            inputs["poison"] = tensor_hash(shown.poison)

        def compute(stage: Stage) -> tuple[dict[str, Tensor], dict[str, Any]]:
            cost = wall = 0.0
            call = 0
            trainings = Trainings(rows, shown.trusted)

            def train_rows(samples: Samples, procedure: Procedure | None = None) -> Weights:
                nonlocal cost, wall, call
                began, call = time.monotonic(), call + 1
                with ours.within():
                    whole = len(samples) >= len(rows)  # parts are never trained on without the defense
                    done = self.fit(model, samples, f"train on {len(samples)} rows", procedure, call, whole)
                    trainings.add(samples, done.tensors)
                cost += done.seconds
                wall += time.monotonic() - began
                return on(device, done.tensors)

            began = time.monotonic()
            view = replace(shown, train=rows.copy(), trusted=shown.trusted.copy(), model=replace(model))
            with self.memory.part() as peak, self.stages.method(cell.defense.name, "defending", "defender") as ours:
                returned = cell.defense.defend(view, train_rows, stage)
                with ours.within():
                    defended = plain_defended(cell.defense.name, returned)
                    _check(cell.defense, defended, rows, model)
                    stats = plain(dict(defended.stats), "stats")
                    why = trainings.check(cell.defense.name, defended)
                    stats |= {} if why is None else {UNCHECKED: why}
            facts = {
                "stats": stats,
                "retrain_s": cost,
                "defense_s": max(0.0, time.monotonic() - began - wall),
                "memory": peak,
            }
            tensors = self._kept(defended.predictor) | {"kept": defended.kept}
            return tensors if defended.scores is None else {**tensors, "scores": defended.scores}, facts

        done = self.stages.get_or_compute("defense", inputs, (cell.seed, "defense"), compute, _models)
        predictor = Vote(done.parts) if done.parts else _weights(done.tensors)
        return DefenseRun(
            predictor, done.tensors["kept"], trusted=len(shown.trusted), artifact=done.artifact, **done.facts
        )

    def predictions(self, model: Model, weights: Weights) -> Tensor:
        """The classes that a model gives the test set, (n_test,), int64, on the CPU."""
        return self._labels(model, weights, self.dataset.test.x.to(self.stages.device))

    def votes(self, model: Model, predictor: Predictor) -> Tensor:
        """The classes that each model of the cell's defense gives what the defense shows it of the test set, (models,
        n_test), int64, on the CPU.

        Raises:
            ValidationError: if the defense shows anything but images like those of the test set.
        """
        x, author = self.dataset.test.x.to(self.stages.device), self.cell.defense.name
        shown = self.cell.defense.transform(x.clone())
        same = isinstance(shown, Tensor) and (shown.shape, shown.dtype, shown.device) == (x.shape, x.dtype, x.device)
        if not same or shown.layout != torch.strided or not bool(torch.isfinite(shown).all()):
            raise ValidationError(f"{author} must transform images into finite ones of their shape and type.")
        return torch.stack([self._labels(model, weights, shown.detach()) for weights in models_of(predictor)])

    def answers(self, model: Model, predictor: Predictor) -> Tensor:
        """The classes that the cell's defense gives the test set, (n_test,), int64, on the CPU."""
        return winners(self.votes(model, predictor), self.dataset.classes)

    def _kept(self, predictor: Predictor) -> dict[str, Tensor]:
        """What is kept of a predictor, by name: the tensors of a model; of a vote the hashes of its models' artifacts,
        (models, 32), uint8. Those that a training gave are in the store already, most of them for other votes too."""
        if not isinstance(predictor, Vote):
            return {f"{_WEIGHT}{name}": value for name, value in predictor.items()}
        hashes = [self.stages.store.artifacts.put(model, "weights").sha256 for model in predictor.models]
        return {_MODELS: torch.tensor([list(bytes.fromhex(one)) for one in hashes], dtype=torch.uint8)}

    def _labels(self, model: Model, weights: Weights, x: Tensor) -> Tensor:
        return model.predict(on(self.stages.device, weights), x).argmax(1).cpu()


def percent(correct: Tensor) -> float:
    """The part of the rows that is right, percent."""
    return 100.0 * int(correct.sum()) / max(1, len(correct))


def answers(clean: Tensor, attacked: Tensor) -> Answers:
    """The record's answers, of which test images were right before and after attack and defense, (n_test,), bool."""
    texts = [base64.b64encode(np.packbits(right.numpy()).tobytes()).decode("ascii") for right in (clean, attacked)]
    return Answers(clean=texts[0], attacked=texts[1])


def on(device: torch.device, weights: Weights) -> Weights:
    """The weights on a device."""
    return {name: value.to(device) for name, value in weights.items()}


def _models(tensors: Mapping[str, Tensor]) -> list[str]:
    """The hashes of the models of a vote that was kept; none of a single model."""
    return [bytes(one).hex() for one in tensors[_MODELS].tolist()] if _MODELS in tensors else []


def _weights(tensors: Mapping[str, Tensor]) -> Weights:
    """The model that was kept."""
    return {name.removeprefix(_WEIGHT): value for name, value in tensors.items() if name.startswith(_WEIGHT)}


def _check(defense: Defense, defended: Defended, rows: Samples, model: Model) -> None:
    author = defense.name
    expected = {name: (value.shape, value.dtype) for name, value in model.init(torch.Generator()).items()}
    for weights in models_of(defended.predictor):
        if {name: (value.shape, value.dtype) for name, value in weights.items()} != expected:
            raise ValidationError(f"{author} must return weights of the target model, {name_of(type(model))}.")
        if not all(bool(torch.isfinite(value).all()) for value in weights.values()):
            raise ValidationError(f"{author} returned weights that are NaN or infinite.")
    if defended.scores is not None and (
        defended.scores.shape != (len(rows),) or not bool(torch.isfinite(defended.scores).all())
    ):
        raise ValidationError(f"{author} must return one finite score a row, or none.")
    if defended.kept.shape != (len(rows),) or defended.kept.dtype != torch.bool:
        raise ValidationError(f"{author} must return `kept` as {len(rows)} booleans.")
    refuse_unsound_kept(defense, rows.y.cpu(), defended.kept)
