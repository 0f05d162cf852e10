"""What cells will cost: from earlier records, and where there are none of that model, from a quick calibration or from
records of another machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

import torch

from poisonbench.data.split import split_sizes
from poisonbench.defenses.none import NoDefense
from poisonbench.experiment.cell import Cell, method
from poisonbench.models.base import Model, build, work_per_row
from poisonbench.plugins.registry import name_of
from poisonbench.problem.samples import Dataset
from poisonbench.problem.threat import Mode
from poisonbench.process.threads import fitting_threads
from poisonbench.seeding import child_generator
from poisonbench.stages.stage import Stage
from poisonbench.store.canonical import content_hash
from poisonbench.store.record import Record
from poisonbench.training import train

CALIBRATION_BATCHES = 4
"""Gradient steps of a calibration."""

TRIES = 3
"""How often a calibration takes them."""

Trained = tuple[str, tuple[str, ...], str]
"""What decides how long a training run takes: protocol hash, deviations, model."""


@dataclass(frozen=True)
class Cost:
    """What a cell costs, less the stages that an earlier cell of the same sweep makes.

    Attributes:
        seconds: on one worker, or None if nothing tells how long its attack or defense takes.
        memory_mb: peak, MiB, or None if no record tells.
    """

    seconds: float | None
    memory_mb: float | None


@dataclass
class Estimator:
    """Costs by what records say, the nearest first: the same method with the same fields on the same model; then as a
    multiple of that record's training time the same, the method with any fields, and the method on any model.

    Attributes:
        calibrate: seconds of one training run of that cell's model or surrogate, measured; for models that no record of
            this machine tells of. None takes another machine's seconds: that is enough for what takes longer than what.
    """

    calibrate: Callable[[Cell, type[Model]], float] | None = None
    _training: dict[Trained, list[float]] = field(default_factory=dict)
    _elsewhere: dict[tuple[str, ...], list[float]] = field(default_factory=dict)
    _exact: dict[tuple[Trained, str, str, str], list[float]] = field(default_factory=dict)
    _multiples: dict[tuple[str, ...], list[float]] = field(default_factory=dict)
    _memory: dict[tuple[str, ...], float] = field(default_factory=dict)

    def learn(self, records: Iterable[Record], elsewhere: bool = False) -> None:
        """Take in what records say; failed ones say nothing. Those made elsewhere, on another machine, tell how many
        training runs a method is worth; their seconds stand in only where nothing is calibrated."""
        for record in records:
            timing, model = record.timing, record.model.name
            if record.status != "ok" or not timing.pretrain_s:
                continue
            trained = record.protocol.hash, record.protocol.deviations, model
            if elsewhere:
                for near in ((record.protocol.hash, model), (model,)):
                    self._elsewhere.setdefault(near, []).append(timing.pretrain_s)
            else:
                self._training.setdefault(trained, []).append(timing.pretrain_s)
            spent = {
                ("attack", record.attack.name, content_hash(record.attack.params)): timing.attack_s,
                ("defense", record.defense.name, content_hash(record.defense.params)): (timing.defense_s or 0.0)
                + (timing.retrain_s or 0.0),
            }
            for (kind, name, params), seconds in spent.items():
                if seconds is None or (kind == "attack" and record.surrogate):
                    continue
                if not elsewhere:
                    self._exact.setdefault((trained, kind, name, params), []).append(seconds)
                for key in _kin(kind, name, params, model, record.protocol.hash):
                    self._multiples.setdefault(key, []).append(seconds / timing.pretrain_s)
            peak = record.memory.rss_peak_mb
            if peak is not None:
                for key in ((record.dataset.name, model, record.attack.name), (record.dataset.name, model)):
                    self._memory[key] = max(peak, self._memory.get(key, 0.0))

    def costs(self, cells: Sequence[Cell]) -> list[Cost]:
        """The cost of each cell if they run in that order: a stage that cells share is counted once."""
        counted: set[str] = set()
        return [self._cost(cell, counted) for cell in cells]

    def _cost(self, cell: Cell, counted: set[str]) -> Cost:
        protocol, model, surrogate = cell.settings.protocol, name_of(cell.model), name_of(cell.surrogate)
        target, crafted_on = self._once(cell, cell.model), self._once(cell, cell.surrogate)
        attack = self._method(cell, "attack", cell.surrogate, crafted_on)
        rules = content_hash([cell.settings.hash, cell.deviations, cell.seed])
        poison = content_hash([rules, surrogate, method("attack", cell.attack), cell.settings.protocol.threat.epsilon])
        parts: dict[str, float | None] = {
            f"{rules} {model}": target,
            f"{rules} {surrogate}": crafted_on,
            poison: attack,
            f"{poison} {model}": target,
        }
        if protocol.padded and protocol.threat.mode is Mode.ADDITION:  # and once more, copies in the poison's place
            parts[f"{rules} {model} {protocol.threat.epsilon}"] = target
        if not isinstance(cell.defense, NoDefense):  # which trains nothing that is not trained anyway
            defended = self._method(cell, "defense", cell.model, target)
            parts |= {f"{poison} {model} {cell.defense}": defended, f"{rules} {model} {cell.defense}": defended}
        new = [seconds for key, seconds in parts.items() if key not in counted]
        counted.update(parts)
        data = cell.settings.protocol.dataset
        attacked, any_attack = (data, model, name_of(type(cell.attack))), (data, model)
        peak = self._memory.get(attacked, self._memory.get(any_attack))
        known = [seconds for seconds in new if seconds is not None]
        return Cost(sum(known) if len(known) == len(new) else None, peak)

    def _once(self, cell: Cell, model: type[Model]) -> float | None:
        """Seconds of one training run."""
        key = cell.settings.hash, cell.deviations, name_of(model)
        if key not in self._training:
            if self.calibrate is None:
                name = name_of(model)
                near = self._elsewhere.get((cell.settings.hash, name)) or self._elsewhere.get((name,))
                return median(near) if near else None
            self._training[key] = [self.calibrate(cell, model)]
        return median(self._training[key])

    def _method(self, cell: Cell, kind: str, model: type[Model], training: float | None) -> float | None:
        about = method(kind, cell.attack if kind == "attack" else cell.defense)
        trained = cell.settings.hash, cell.deviations, name_of(model)
        params = content_hash(about["params"])
        exact = self._exact.get((trained, kind, about["name"], params))
        if exact:
            return median(exact)
        for key in _kin(kind, about["name"], params, name_of(model), cell.settings.hash):
            if training is not None and key in self._multiples:
                return median(self._multiples[key]) * training
        return None


def _kin(kind: str, name: str, params: str, model: str, protocol: str) -> tuple[tuple[str, ...], ...]:
    """Where multiples of a method are looked up, the nearest kin first."""
    return (kind, name, params, model, protocol), (kind, name, model), (kind, name)


def training_time(cell: Cell, model: type[Model], dataset: Dataset, device: torch.device) -> float:
    """Seconds of a training run on a machine that does nothing else, from a few steps of it.

    On the CPU they are those that this thread computes: its share of the work, with no pause in which others had the
    core. The shortest of TRIES counts, as the first one warms up caches and the allocator.
    """
    recipe, protocol = cell.recipe_of(model), cell.settings.protocol
    n_train = split_sizes(len(dataset.train), protocol.validation, protocol.train_rows, protocol.trusted).train
    rows = dataset.train.rows(slice(0, CALIBRATION_BATCHES * recipe.batch_size)).to(device)
    one_epoch, target = replace(recipe, epochs=1), build(model, dataset)
    clock = time.thread_time if device.type == "cpu" else time.monotonic

    def once() -> float:
        began = clock()
        train(target, rows, one_epoch, Stage(child_generator(0, "calibration"), device), "calibrate")
        return clock() - began

    with fitting_threads(work_per_row(target) * recipe.batch_size):
        return min(once() for _ in range(TRIES)) * recipe.epochs * n_train / len(rows)
