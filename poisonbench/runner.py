"""One cell: pretrain → attack → verify → defend and retrain → test → record."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import torch
from torch import Tensor

from poisonbench.cell import Cell, describe, method
from poisonbench.checkpoint import Checkpoint
from poisonbench.code_hash import code_hash
from poisonbench.data.base import DataOptions
from poisonbench.data.prepare import prepare
from poisonbench.data.split import split, split_sizes
from poisonbench.environment import PeakMemory
from poisonbench.errors import MethodError, OutOfMemoryError, PoisonbenchError, ValidationError
from poisonbench.findings import Findings
from poisonbench.models.base import Model, build, n_params
from poisonbench.registry import name_of
from poisonbench.seeding import child_generator, child_seed
from poisonbench.stage import Deadline, Progress, Silent, Stage
from poisonbench.stages import Done, Stages
from poisonbench.store.canonical import content_hash, plain
from poisonbench.store.database import Store
from poisonbench.store.record import Metrics, Record
from poisonbench.tensor_hash import tensor_hash
from poisonbench.threat import Knowledge, Mode
from poisonbench.training import train
from poisonbench.types import AttackerView, Budget, Dataset, Defended, DefenderView, PoisonSet, Samples, Weights


@dataclass(frozen=True)
class Outcome:
    """What running a cell gave.

    Attributes:
        record: as stored.
        error: why it failed, or None.
        reused: stages that were taken from the store; ["record"] if the whole record was.
        computed: stages that were computed.
    """

    record: Record
    error: PoisonbenchError | None
    reused: list[str]
    computed: list[str]


@dataclass(frozen=True)
class Runner:
    """Runs cells into one store.

    Attributes:
        store: results, stages, checkpoints.
        data: where datasets come from.
        device: where to compute.
        progress: who watches.
        timeout: seconds a cell may take, or None.
        force: make a new record even where the store has one; finished stages are still reused.
    """

    store: Store
    data: DataOptions = field(default_factory=DataOptions)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    progress: Progress = field(default_factory=Silent)
    timeout: float | None = None
    force: bool = False
    _datasets: dict[str, Dataset] = field(default_factory=dict)

    def prepare(self, cells: list[Cell]) -> None:
        """Everything that can be refused before any work: is the store writable, is the data there, does a point fit?

        Raises:
            DataError, BudgetError, StoreError.
        """
        self.store.writable()
        for cell in cells:
            if self._known(cell) is None:
                budget_of(cell, self._dataset(cell))

    def run(self, cell: Cell) -> Outcome:
        """Run one cell and store its record, whatever comes of it.

        A cell that was done before, with the same code, comes from the store. What fails after the start is recorded
        as failed, timed out or out of memory, and returned.

        Raises:
            UsageError, DataError, StoreError: before any work; no record is left.
        """
        known = self._known(cell)
        if known is not None:
            return Outcome(known, None, ["record"], [])
        outcome = _Game(cell, self._dataset(cell), self._stages()).play()
        self.store.add(outcome.record)
        return outcome

    def _known(self, cell: Cell) -> Record | None:
        return None if self.force else self.store.for_cell(cell.hash())

    def _stages(self) -> Stages:
        return Stages(self.store, self.device, self.progress, Deadline.after(self.timeout))

    def _dataset(self, cell: Cell) -> Dataset:
        name = cell.settings.protocol.dataset
        if name not in self._datasets:
            self._datasets[name] = prepare(name, self.data)
        return self._datasets[name]


def budget_of(cell: Cell, dataset: Dataset) -> Budget:
    """The budget that a cell gives its attack.

    Raises:
        BudgetError: if not even one point fits.
    """
    protocol = cell.settings.protocol
    n_train, _ = split_sizes(len(dataset.train), protocol.validation)
    return Budget(protocol.threat.epsilon, n_train, dataset.classes, cell.attack.threat, protocol.threat.radius)


class _Game:
    """A cell at work."""

    def __init__(self, cell: Cell, dataset: Dataset, stages: Stages) -> None:
        protocol = cell.settings.protocol
        train_rows, validation_rows = split(dataset.train, protocol.validation, child_generator(cell.seed, "split"))
        self._cell, self._dataset, self._stages = cell, dataset, stages
        self._train, self._validation = train_rows.to(stages.device), validation_rows.to(stages.device)
        self._budget = budget_of(cell, dataset)
        self._findings = Findings()

    def play(self) -> Outcome:
        """Every stage in order. The record tells how far it came."""
        started, memory = datetime.now(UTC), PeakMemory(self._stages.device)
        error: PoisonbenchError | None = None
        try:
            self._play()
        except PoisonbenchError as fault:
            error = fault
        except (MemoryError, torch.OutOfMemoryError) as fault:
            error = OutOfMemoryError(f"Out of memory: {_first_line(fault)}")
            error.__cause__ = fault
        self._findings.memory = memory.read()
        seeds = {name: child_seed(self._cell.seed, name) for name in ("split", "train", "attack", "defense")}
        record = self._findings.record(
            self._cell, self._dataset, self._budget, seeds, self._stages.device, error, started, datetime.now(UTC)
        )
        return Outcome(record, error, self._stages.reused, self._stages.computed)

    def _play(self) -> None:
        found, cell = self._findings, self._cell
        model, surrogate = build(cell.model, self._dataset), build(cell.surrogate, self._dataset)

        clean = self._fit(model, self._train, "pretrain")
        found.seconds["pretrain_s"] = clean.seconds
        found.n_params = n_params(clean.tensors)
        before = self._test(model, clean.tensors, "clean-predictions")

        crafted_on = clean if cell.transfer is None else self._fit(surrogate, self._train, "pretrain surrogate")
        poison = self._attack(surrogate, crafted_on)
        rows, poisoned = training_set(self._train, poison, cell.attack.threat.mode, child_generator(cell.seed, "order"))

        defended = self._defend(model, rows)
        with _one_line_errors(name_of(type(cell.defense))):
            after = self._test(model, defended.weights, "predictions")
        found.defense_detail = _detail(defended, poisoned)
        found.metrics = _metrics(before, after, self._dataset.test.y, self._dataset.classes)

    def _fit(self, model: Model, samples: Samples, task: str) -> Done:
        """Train from scratch, or take the weights of the same training from the store. The random stream is the same
        for every training of a seed, so that runs differ in their data alone."""
        recipe = self._cell.recipe
        inputs = {
            "model": describe("model", type(model), {}),
            "dataset": self._dataset.sha256,
            "rows": tensor_hash(samples.x, samples.y),
            "recipe": vars(recipe),
            "code": code_hash("poisonbench.training"),
        }

        def compute(stage: Stage) -> tuple[Weights, dict[str, Any]]:
            with _one_line_errors("training"):
                return train(model, samples, recipe, stage, task), {}

        return self._stages.once("weights", inputs, (self._cell.seed, "train"), compute)

    def _attack(self, model: Model, clean: Done) -> PoisonSet:
        """Craft the poison set, keep it, read it back and verify it."""
        cell, attack, found = self._cell, self._cell.attack, self._findings
        knows_model = attack.threat.knowledge is Knowledge.TRAINING_ONLY
        view = AttackerView(
            train=self._train,
            validation=self._validation if knows_model else self._validation.rows(torch.arange(0)),
            model=model,
            recipe=cell.recipe,
            weights=_on(self._stages.device, clean.tensors) if knows_model else {},
            classes=self._dataset.classes,
        )
        rows_before = tensor_hash(*_tensors(self._train)), tensor_hash(*_tensors(self._validation))
        inputs = {
            "attack": method("attack", attack),
            "clean": clean.artifact.sha256,
            "rows": rows_before,
            "recipe": vars(cell.recipe),
            "epsilon": self._budget.epsilon,
            "radius": self._budget.bound,
        }

        def compute(stage: Stage) -> tuple[dict[str, Tensor], dict[str, Any]]:
            with _one_line_errors(name_of(type(attack))):
                poison = attack.craft(view, self._budget, stage)
                if (tensor_hash(*_tensors(self._train)), tensor_hash(*_tensors(self._validation))) != rows_before:
                    raise ValidationError(
                        f"{name_of(type(attack))} changed D_tr or D_v in place. Clone before writing."
                    )
                tensors = {"x": poison.x.cpu(), "y": poison.y.cpu(), "source": poison.source.cpu()}
                return tensors, plain(dict(poison.stats), "stats")

        done = self._stages.once("poison", inputs, (cell.seed, "attack"), compute)
        found.seconds["attack_s"], found.attack_stats = done.seconds, dict(done.facts)
        found.artifacts.append(done.artifact)
        poison = PoisonSet(done.tensors["x"], done.tensors["y"], done.tensors["source"], done.facts)
        found.poison_check = self._budget.verify(poison, self._train.to(torch.device("cpu")), name_of(type(attack)))
        return poison

    def _defend(self, model: Model, rows: Samples) -> Defended:
        """Hand the training set to the defense; its trainings and the rest of its work are timed apart."""
        cell, stages = self._cell, self._stages
        training_cost = training_wall = 0.0

        def train_rows(samples: Samples) -> Weights:
            nonlocal training_cost, training_wall
            began = time.monotonic()
            done = self._fit(model, samples, f"train on {len(samples)} rows")
            training_cost += done.seconds
            training_wall += time.monotonic() - began
            return _on(stages.device, done.tensors)

        view = DefenderView(rows, self._validation, model, cell.recipe, self._dataset.classes)
        key = content_hash({"defense": method("defense", cell.defense), "rows": tensor_hash(rows.x, rows.y)})
        checkpoint = Checkpoint(stages.store.home / "checkpoints" / key)
        stage = Stage(
            child_generator(cell.seed, "defense"), stages.device, stages.progress, checkpoint, stages.deadline
        )
        began = time.monotonic()
        with stages.store.lock(key), _one_line_errors(name_of(type(cell.defense))):
            defended: Defended = cell.defense.defend(view, train_rows, stage)
        checkpoint.clear()
        if defended.kept.shape != (len(rows),) or defended.kept.dtype != torch.bool:
            raise ValidationError(f"{name_of(type(cell.defense))} must return `kept` as {len(rows)} booleans.")
        if not all(bool(torch.isfinite(value).all()) for value in defended.weights.values()):
            raise ValidationError(f"{name_of(type(cell.defense))} returned weights that are NaN or infinite.")
        self._findings.seconds["retrain_s"] = training_cost
        self._findings.seconds["defense_s"] = max(0.0, time.monotonic() - began - training_wall)
        return defended

    def _test(self, model: Model, weights: Weights, kind: Literal["predictions", "clean-predictions"]) -> Tensor:
        """The test set's predicted classes, (n_test,), kept per sample for paired tests and re-scoring."""
        device = self._stages.device
        predicted = model.predict(_on(device, weights), self._dataset.test.x.to(device)).argmax(1).cpu()
        artifact = self._stages.store.artifacts.put({"predictions": predicted.to(torch.int16)}, kind)
        self._findings.artifacts.append(artifact)
        return predicted


def training_set(train: Samples, poison: PoisonSet, mode: Mode, generator: torch.Generator) -> tuple[Samples, Tensor]:
    """What the defender gets: D_tr ∪ D_p, or D_tr with rows replaced, in random order and with ids that tell nothing.

    Args:
        train: D_tr.
        poison: D_p.
        mode: addition appends the poison rows; perturbation puts them in the place of their sources.
        generator: for the order, so that no defense can win by looking at the end.
    Returns:
        The rows, and which of them are poison, (n,), bool.
    """
    device = train.y.device
    crafted = Samples(poison.x.to(device), poison.y.to(device), poison.source.to(device))
    if mode is Mode.ADDITION:
        rows = train.plus(crafted)
        is_poison = torch.arange(len(rows), device=device) >= len(train)
    else:
        rows = Samples(train.x.clone(), train.y.clone(), train.ids)
        rows.x[crafted.ids], rows.y[crafted.ids] = crafted.x, crafted.y
        is_poison = torch.zeros(len(rows), dtype=torch.bool, device=device)
        is_poison[crafted.ids] = True
    order = torch.randperm(len(rows), generator=generator).to(device)
    return Samples(rows.x[order], rows.y[order], torch.arange(len(rows), device=device)), is_poison[order]


def _tensors(samples: Samples) -> tuple[Tensor, Tensor, Tensor]:
    return samples.x, samples.y, samples.ids


def _metrics(before: Tensor, after: Tensor, y: Tensor, classes: int) -> Metrics:
    y = y.cpu()
    per_class = [[_percent((predicted == y)[y == label]) for label in range(classes)] for predicted in (before, after)]
    return Metrics.of(_percent(before == y), _percent(after == y), per_class=(per_class[0], per_class[1]))


def _percent(correct: Tensor) -> float:
    return 100.0 * int(correct.sum()) / max(1, len(correct))


def _detail(defended: Defended, is_poison: Tensor) -> dict[str, Any]:
    removed = ~defended.kept
    hits, n_removed, n_poison = int((removed & is_poison).sum()), int(removed.sum()), int(is_poison.sum())
    return {
        "removed": n_removed,
        "precision": hits / n_removed if n_removed else None,
        "recall": hits / n_poison if n_removed else None,
        "stats": plain(dict(defended.stats), "stats"),
    }


def _on(device: torch.device, weights: Weights) -> Weights:
    return {name: value.to(device) for name, value in weights.items()}


@contextmanager
def _one_line_errors(author: str) -> Iterator[None]:
    """Whatever a method raises becomes an error of ours, so that a record says how the cell ended."""
    try:
        yield
    except (PoisonbenchError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as fault:
        if "can't allocate memory" in str(fault):  # PyTorch's CPU allocator raises a plain RuntimeError
            raise OutOfMemoryError(f"{author} ran out of memory: {_first_line(fault)}") from fault
        raise MethodError(f"{author} raised {type(fault).__name__}: {_first_line(fault)}") from fault


def _first_line(fault: BaseException) -> str:
    return (str(fault).strip().splitlines() or ["no message"])[0][:300]
