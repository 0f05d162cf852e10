"""Training again on a stored poison set: verification. Needs no attack, so one whose code is closed can be verified.

The victim is this version's: model, recipe, defense, seeds. Two runs on one machine agree to the bit; on other hardware
sums are rounded otherwise, and a test image near the boundary falls on the other side. So a record passes if each
accuracy is within two standard errors of an accuracy on so many test images, or one image; and all seeds of an attack
against a defense if a board could not tell what was submitted from what was found (agreement.py). What is signed is
what was found: the submitter's numbers stay beside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from poisonbench.attacks.base import Attack
from poisonbench.defenses.none import NoDefense
from poisonbench.errors import ValidationError
from poisonbench.experiment.cell import Cell, build_defense
from poisonbench.experiment.protocol import Resolved, resolve
from poisonbench.experiment.runner import replay
from poisonbench.experiment.settings import Setting
from poisonbench.plugins.registry import load
from poisonbench.problem.budget import Budget
from poisonbench.problem.samples import Dataset, PoisonSet
from poisonbench.problem.threat import ThreatModel
from poisonbench.problem.views import AttackerView
from poisonbench.stages.cache import StageCache
from poisonbench.stages.stage import Stage
from poisonbench.store.record import Record
from poisonbench.store.record_origin import Submitted
from poisonbench.store.record_results import Metrics
from poisonbench.submission.evidence import budget_of

COMPARED = ("acc1", "acc2", "acc2_undefended", "acc1_defended", "acc1_padded")


@dataclass(frozen=True)
class Difference:
    """An accuracy as submitted and as found again, percent.

    Attributes:
        name: see Metrics.
        submitted: what the record says; None if it does not.
        found: what this machine finds.
        tolerance: points that the two may differ by.
    """

    name: str
    submitted: float | None
    found: float
    tolerance: float

    @property
    def within(self) -> bool:
        """Whether they agree."""
        return self.submitted is not None and abs(self.submitted - self.found) <= self.tolerance


@dataclass(frozen=True)
class Reexecution:
    """The outcome of a record's re-execution.

    Attributes:
        submitted: the record as it was submitted.
        found: the record of what this machine measured; of its attack it has what was submitted.
        differences: one for each accuracy.
    """

    submitted: Record
    found: Record
    differences: tuple[Difference, ...]

    @property
    def verified(self) -> bool:
        """Whether every accuracy agrees."""
        return all(difference.within for difference in self.differences)

    @property
    def said(self) -> Submitted:
        """What the signed record keeps of the submission."""
        metrics = self.submitted.metrics
        if metrics is None:
            raise ValidationError(f"Record {self.submitted.record_id} has no metrics.")
        bare = metrics.model_copy(update={"per_class": None, "answers": None})
        return Submitted(record_id=self.submitted.record_id, metrics=bare, environment=self.submitted.environment)


@dataclass(frozen=True)
class StoredPoison(Attack):
    """An attack whose poison set is there already; it is never called.

    Attributes:
        stated: its threat model, as the record states it.
    """

    stated: ThreatModel

    @property
    def threat(self) -> ThreatModel:
        """See Attack."""
        return self.stated

    def craft(self, view: AttackerView, budget: Budget, stage: Stage) -> PoisonSet:
        """Nothing is crafted again."""
        raise NotImplementedError("the poison set is given")


def reexecute(
    record: Record, settings: Resolved, poison: PoisonSet, dataset: Dataset, stages: StageCache
) -> Reexecution:
    """Train, defend and test again on a record's poison set.

    Args:
        record: that evidence.Validator.check found nothing wrong with.
        settings: its protocol.
        poison: its poison set.
        dataset: the protocol's.
        stages: where; nothing of the submitter's is in their store.
    Raises:
        UnknownNameError, PluginError: for a defense or model that is not installed here.
        ValidationError: for a poison set that breaks its budget.
        PoisonbenchError: for a defense that fails.
    """
    cell, started = cell_of(record, settings, dataset), datetime.now(UTC)
    measured = replay(cell, dataset, stages, poison).replayed(record, cell, stages.device, started, datetime.now(UTC))
    claimed, metrics = record.metrics, measured.metrics
    if claimed is None or metrics is None:
        raise ValidationError(f"Record {record.record_id} has no metrics.")
    return Reexecution(record, measured, tuple(differences(claimed, metrics, len(dataset.test))))


def differences(claimed: Metrics, found: Metrics, n_test: int) -> Iterator[Difference]:
    """Every accuracy as submitted and as found; of what a defense proves, the number of rows where they differ most."""
    for name in COMPARED:
        accuracy = getattr(found, name)
        if accuracy is not None:
            yield Difference(name, getattr(claimed, name), accuracy, _tolerance(accuracy, n_test))
    if claimed.certified is not None or found.certified is not None:
        rows = {row for one in (claimed.certified, found.certified) if one for row in one.rows}
        pairs = [tuple(one.at(row) if one else None for one in (claimed.certified, found.certified)) for row in rows]
        said, proven = max(pairs, key=lambda pair: abs((pair[0] or 0.0) - (pair[1] or 0.0)))
        yield Difference("certified", said, proven or 0.0, _tolerance(proven or 0.0, n_test))


def cell_of(record: Record, settings: Resolved, dataset: Dataset) -> Cell:
    """The record's cell, with its poison set in the place of its attack."""
    cell = undefended(record, settings, dataset)
    return replace(cell, defense=build_defense(record.defense.name, cell.settings))


def undefended(record: Record, settings: Resolved, dataset: Dataset) -> Cell:
    """The same without its defense, hence without code that is not built in."""
    chosen = tuple(Setting(key, value, "record") for key, value in _fields(record).items())
    resolved = resolve(settings.protocol.name, (*chosen, Setting("threat.epsilon", record.threat.epsilon, "record")))
    model = load("model", record.model.name)
    threat = budget_of(record, settings, record.dataset.n_train, dataset.classes).threat
    return Cell(resolved, model, model, StoredPoison(threat), NoDefense(), record.seeds.run)


def _fields(record: Record) -> Mapping[str, Any]:
    """The defense's fields as settings; those of joined defenses carry their owner's name already."""
    name, params = record.defense.name, record.defense.params
    owner = "" if "+" in name else f"{name}."
    return {f"defense.{owner}{key}": value for key, value in params.items()}


def _tolerance(accuracy: float, n_test: int) -> float:
    """The tolerance in points: max(2 √(p (1 − p) / n), 1 / n), a hair above for the rounding of percentages."""
    p = accuracy / 100
    return max(200 * math.sqrt(p * (1 - p) / n_test), 100 / n_test) + 1e-9
