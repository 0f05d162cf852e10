"""One cell: pretrain → attack → verify → defend and retrain → test → record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import torch
from torch import Tensor

from poisonbench.attacks.base import Attack
from poisonbench.attacks.knowing import crafted
from poisonbench.data.base import DataOptions, data_files, prepare
from poisonbench.data.split import split, split_sizes
from poisonbench.defenses.base import Defense
from poisonbench.errors import MethodError, OutOfMemoryError, PoisonbenchError, ValidationError
from poisonbench.experiment.cell import Cell, code_of
from poisonbench.experiment.certificate import certificate, changed_rows, curve, refuse_refuted
from poisonbench.experiment.findings import Findings
from poisonbench.experiment.rehearsal import Rehearsal
from poisonbench.experiment.returned import poison_tensors
from poisonbench.experiment.victim import ACCURACY, EPOCHS, DefenseRun, Victim, answers, on, percent
from poisonbench.guard.leakage import refuse_test_images
from poisonbench.guard.method_errors import first_line, one_line_errors
from poisonbench.guard.process_state import process_kept
from poisonbench.identity.tensors import tensor_hash
from poisonbench.identity.versions import engine_hash
from poisonbench.models.base import Model, build, n_params, work_per_row
from poisonbench.plugins.registry import name_of
from poisonbench.problem.budget import Budget
from poisonbench.problem.predictor import winners
from poisonbench.problem.recipe import Recipe
from poisonbench.problem.samples import Dataset, PoisonSet, Samples, Weights
from poisonbench.problem.threat import Knowledge, Mode
from poisonbench.problem.views import AttackerView, data_only
from poisonbench.process.environment import PeakMemory
from poisonbench.process.threads import fitting_threads
from poisonbench.seeding import child_generator, child_seed
from poisonbench.stages.cache import StageCache, StageResult
from poisonbench.stages.stage import Deadline, Executor, Progress, SerialExecutor, Silent, Stage
from poisonbench.store.artifacts import Kind
from poisonbench.store.canonical import plain
from poisonbench.store.database import Store
from poisonbench.store.record import Record
from poisonbench.store.record_results import Metrics

_KEEPING = "keep a record"
"""What is locked from the look at the store until a record is in it."""

_OF_THE_CELL = (MethodError, OutOfMemoryError, MemoryError, torch.OutOfMemoryError)
"""What a method or a model may raise before any work that is its cell's own failure, and ends no grid: the cell meets
it again, and has a record of it."""

_UNRECORDABLE = "unrecordable"
"""In the place of an attack's evidence: why no record can have it."""


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

    @property
    def exit_code(self) -> int:
        """What a command ends in that did nothing else."""
        return self.error.exit_code if self.error else 0


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
        executor: what runs the independent parts of a stage.
    """

    store: Store
    data: DataOptions = field(default_factory=DataOptions)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    progress: Progress = field(default_factory=Silent)
    timeout: float | None = None
    force: bool = False
    executor: Executor = field(default_factory=SerialExecutor)
    _datasets: dict[str, Dataset] = field(default_factory=dict)

    def prepare(self, cells: Sequence[Cell]) -> None:
        """Everything that can be refused before any work: is the store writable, is the data there, does a point fit?

        Raises:
            DataError, BudgetError, StoreError.
        """
        self.store.writable()
        asked = set[object]()
        for cell in cells:
            if self.known(cell) is None:
                dataset = self.dataset(cell)
                cell.attack.ready()
                budget_of(cell, dataset)
                pairing = (id(cell.attack), id(cell.defense), cell.model, cell.surrogate, cell.knows, id(dataset))
                if pairing not in asked:  # a grid has few of them, and many cells
                    with suppress(*_OF_THE_CELL):
                        _refuse_unfit(cell, dataset, self._stages(cell, Deadline()))
                    asked.add(pairing)

    def run(self, cell: Cell) -> Outcome:
        """Run one cell and store its record, whatever comes of it.

        A cell that was done before, by the same versions, comes from the store. What fails after the start is recorded
        as failed, timed out or out of memory, and returned.

        Raises:
            UsageError, DataError, StoreError: before any work; no record is left.
        """
        since, known = datetime.now(UTC), self.known(cell)
        if known is not None:
            return known
        stages = self._stages(cell, Deadline.after(self.timeout))
        return self.keep(cell, play(cell, self.dataset(cell), stages), since)

    def _stages(self, cell: Cell, deadline: Deadline) -> StageCache:
        data = data_files(self.data, plugins=bool(cell.plugins))
        return StageCache(self.store, self.device, self.progress, deadline, self.executor, data)

    def keep(self, cell: Cell, outcome: Outcome, since: datetime) -> Outcome:
        """Store the record of a cell that was played. If another run has stored a good one meanwhile, as one that this
        run waited for, the cell is done by that one, and its outcome is given; under `force` both are kept. A failure
        always is: it happened.

        Args:
            cell: the cell.
            outcome: what came of it.
            since: when the store was looked at and had no such record. An older one had lost its artifacts, and is no
                other run's.
        Raises:
            StoreError: if the store cannot be written.
        """
        with self.store.lock(_KEEPING):
            known = self.known(cell) if outcome.error is None else None
            if known is not None and datetime.fromisoformat(known.record.finished_at) >= since:
                return known
            self.store.add(outcome.record, outcome.exit_code)
        return outcome

    def known(self, cell: Cell) -> Outcome | None:
        """The outcome that the store has of a cell; None if it is to be run."""
        record = None if self.force else self.store.for_cell(cell.hash())
        return None if record is None else Outcome(record, None, ["record"], [])

    def dataset(self, cell: Cell) -> Dataset:
        """The cell's dataset, loaded once.

        Raises:
            DataError: if it cannot be had.
        """
        name = cell.settings.protocol.dataset
        if name not in self._datasets:
            with process_kept():
                self._datasets[name] = prepare(name, self.data)
        return self._datasets[name]


def budget_of(cell: Cell, dataset: Dataset) -> Budget:
    """The budget that a cell gives its attack.

    Raises:
        BudgetError: if not even one point fits.
    """
    protocol = cell.settings.protocol
    sizes = split_sizes(len(dataset.train), protocol.validation, protocol.train_rows, protocol.trusted)
    return Budget(protocol.threat.epsilon, sizes.train, dataset.classes, cell.threat, protocol.threat.radius)


def _refuse_unfit(cell: Cell, dataset: Dataset, stages: StageCache) -> None:
    """Ask attack and defense about the models that they are to meet, watched as when they work: those that have
    something to refuse, since watching takes 10 ms.

    Raises:
        PoisonbenchError: what they refuse; a MethodError if they, or a plugin's model, raise anything else.
    """
    doing = "saying which models it is for"
    if type(cell.attack).ready_for is not Attack.ready_for:
        with stages.method(name_of(type(cell.attack)), doing, "attacker"):
            cell.attack.ready_for(_built(cell.surrogate, dataset))
    if type(cell.defense).ready_for is not Defense.ready_for:
        with stages.method(cell.defense.name, doing, "defender"):
            for trained in {cell.model, cell.surrogate} if cell.knows else {cell.model}:
                cell.defense.ready_for(_built(trained, dataset))


def _built(model: type[Model], dataset: Dataset) -> Model:
    """The model, fitted to a dataset's images.

    Raises:
        MethodError: for what a plugin's raises.
    """
    with one_line_errors(name_of(model)):
        return build(model, dataset)


def play(cell: Cell, dataset: Dataset, stages: StageCache) -> Outcome:
    """Every stage of a cell in order. The outcome's record, which is not stored yet, tells how far it came.

    Raises:
        UsageError, StoreError: before any work.
    """
    with _threads(cell, dataset, stages.device):
        return _Game(cell, dataset, stages).play()


def pretrain(cell: Cell, dataset: Dataset, stages: StageCache) -> None:
    """Train a cell's clean model ahead of the cell, as in a process that a plugin has not come into yet."""
    with _threads(cell, dataset, stages.device):
        _Game(cell, dataset, stages).pretrain()


def replay(cell: Cell, dataset: Dataset, stages: StageCache, poison: PoisonSet) -> Findings:
    """What a cell finds with that poison set: everything but the attack, which is never called.

    Raises:
        ValidationError: for a poison set that the budget does not allow.
        PoisonbenchError: what the cell fails with.
    """
    with _threads(cell, dataset, stages.device):
        return _Game(cell, dataset, stages).replay(poison)


def _threads(cell: Cell, dataset: Dataset, device: torch.device) -> AbstractContextManager[None]:
    """As many threads as the cell's larger model fills."""
    if device.type != "cpu":
        return nullcontext()
    return fitting_threads(step_work(cell, dataset))


def step_work(cell: Cell, dataset: Dataset) -> int:
    """Multiply-adds of a training step's forward pass, of the larger of the cell's models; 0 if one raises, which its
    cell tells."""
    with suppress(*_OF_THE_CELL), one_line_errors("a model"):
        per_row = max(work_per_row(_built(one, dataset)) for one in {cell.model, cell.surrogate})
        return per_row * cell.recipe.batch_size
    return 0


def unfinished(
    cell: Cell, dataset: Dataset, device: torch.device, error: PoisonbenchError, started: datetime
) -> Outcome:
    """The outcome of a cell whose process is gone: a record without findings."""
    record = Findings().record(
        cell, dataset, budget_of(cell, dataset), seeds_of(cell.seed), device, error, started, datetime.now(UTC)
    )
    return Outcome(record, error, [], [])


def seeds_of(seed: int) -> dict[str, int]:
    """The streams that come of a run's seed."""
    return {name: child_seed(seed, name) for name in ("split", "train", "attack", "defense")}


@contextmanager
def _memory_runs_out() -> Iterator[None]:
    """Raises OutOfMemoryError if it does."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as fault:
        raise OutOfMemoryError(f"Out of memory: {first_line(fault)}") from fault


class _Game:
    """A cell at work."""

    def __init__(self, cell: Cell, dataset: Dataset, stages: StageCache) -> None:
        protocol, stages = cell.settings.protocol, replace(stages, plugins=cell.plugins)
        generator = child_generator(cell.seed, "split")
        parts = split(dataset.train, protocol.validation, generator, protocol.train_rows, protocol.trusted)
        self._cell, self._dataset, self._stages = cell, dataset, stages
        self._train, self._validation = parts.train.to(stages.device), parts.validation.to(stages.device)
        self._budget = budget_of(cell, dataset)
        self._memory = PeakMemory(stages.device)
        self._victim = Victim(cell, dataset, parts.trusted.to(stages.device), stages, self._memory)
        self._findings = Findings()

    def play(self) -> Outcome:
        """Every stage in order. The record tells how far it came."""
        started = datetime.now(UTC)
        error: PoisonbenchError | None = None
        try:
            with _memory_runs_out():
                self._play()
        except PoisonbenchError as fault:
            error = fault
        self._findings.memory |= self._memory.read()
        cell, device = self._cell, self._stages.device
        record = self._findings.record(
            cell, self._dataset, self._budget, seeds_of(cell.seed), device, error, started, datetime.now(UTC)
        )
        return Outcome(record, error, self._stages.reused, self._stages.computed)

    def _play(self) -> None:
        cell, victim = self._cell, self._victim
        model, surrogate = _built(cell.model, self._dataset), _built(cell.surrogate, self._dataset)
        _refuse_unfit(cell, self._dataset, self._stages)
        clean = self._pretrained(model)
        crafted_on = clean if cell.transfer is None else victim.fit(surrogate, self._train, "pretrain surrogate")
        self._score(model, clean, self._attack(surrogate, crafted_on))

    def pretrain(self) -> None:
        """Train the target on clean rows, and nothing else."""
        self._pretrained(_built(self._cell.model, self._dataset))

    def replay(self, poison: PoisonSet) -> Findings:
        """Pretrain, defend, retrain and test with a poison set that is there."""
        found = self._findings
        found.poison_check = self._budget.verify(poison, self._train.to(torch.device("cpu")), "the submission")
        model = _built(self._cell.model, self._dataset)
        with _memory_runs_out():
            self._score(model, self._pretrained(model), poison)
        found.memory |= self._memory.read()
        return found

    def _pretrained(self, model: Model) -> StageResult:
        """The target, trained on clean rows."""
        clean = self._victim.fit(model, self._train, "pretrain")
        self._findings.seconds["pretrain_s"] = clean.seconds
        self._findings.n_params = n_params(clean.tensors)
        return clean

    def _score(self, model: Model, clean: StageResult, poison: PoisonSet) -> None:
        """Defend and retrain on the poisoned rows, then test."""
        found, cell, victim = self._findings, self._cell, self._victim
        rows, poisoned = training_set(self._train, poison, cell.threat.mode, child_generator(cell.seed, "order"))

        attacked = victim.defend(model, rows, poisoned)
        found.seconds |= {"retrain_s": attacked.retrain_s, "defense_s": attacked.defense_s}
        found.memory |= {f"defense_{key}": value for key, value in attacked.memory.items()}
        found.defense_detail = _detail(attacked, poisoned.cpu())
        found.artifacts.append(attacked.artifact)
        undefended = victim.fit(model, rows, "train without the defense")
        found.trajectories = _trajectories(clean, undefended)
        defended, padded = self._without_poison(model, clean, len(poison))
        self._measure(model, clean.tensors, attacked, undefended.tensors, defended, padded, len(poison))

    def _without_poison(self, model: Model, clean: StageResult, n_poison: int) -> tuple[DefenseRun, Weights]:
        """What comes of clean rows with the defense and without it: the difference is its clean cost.

        The rows are D_tr in its own order, or, in protocols that say so, as many as the poisoned set has, in random
        order: copies of rows of D_tr stand in the poison's place, so that no defense can tell by counting that there
        is nothing to find.
        """
        rows = replace(self._train, ids=torch.arange(len(self._train), device=self._stages.device))
        padded = self._cell.settings.protocol.padded and self._cell.threat.mode is Mode.ADDITION
        if padded:
            generator = child_generator(self._cell.seed, "padding")
            copied = torch.randperm(len(rows), generator=generator)[:n_poison].to(self._stages.device)
            copies = PoisonSet(rows.x[copied], rows.y[copied], copied)
            rows, _ = training_set(rows, copies, Mode.ADDITION, generator)
        try:
            nothing = torch.zeros(len(rows), dtype=torch.bool, device=rows.y.device)
            defended = self._victim.defend(model, rows, nothing)
        except ValidationError as error:
            raise ValidationError(f"With no poison at all, {error}") from error
        return defended, (self._victim.fit(model, rows, "train on clean rows") if padded else clean).tensors

    def _measure(
        self,
        model: Model,
        clean: Weights,
        attacked: DefenseRun,
        undefended: Weights,
        defended: DefenseRun,
        padded: Weights,
        n_poison: int,
    ) -> None:
        """The test accuracies with and without attack and defense, and what the defense proves. The predictions behind
        acc1 and acc2 are kept per sample, for paired tests and re-scoring."""
        found, y, victim, defense = self._findings, self._dataset.test.y.cpu(), self._victim, self._cell.defense
        n_classes = self._dataset.classes
        with one_line_errors("testing"), self._stages.unharmed("testing"), process_kept():
            before, attack_alone, neither = (
                victim.predictions(model, weights) for weights in (clean, undefended, padded)
            )
            votes = victim.votes(model, defended.predictor)
            after, defense_alone = victim.answers(model, attacked.predictor), winners(votes, n_classes)
            radius = certificate(defense, votes, n_classes, len(defended.kept))
        if radius is not None:
            changed = changed_rows(self._cell.threat.mode, self._cell.settings.protocol.padded, n_poison)
            refuse_refuted(defense, radius, defense_alone, after, changed)
        kinds: tuple[Kind, Kind] = ("clean-predictions", "predictions")
        for kind, predicted in zip(kinds, (before, after), strict=True):
            tensors = {"predictions": predicted.to(torch.int16)}
            found.artifacts.append(self._stages.store.artifacts.put(tensors, kind))
        classes = range(self._dataset.classes)
        per_class = [[percent((part == y)[y == label]) for label in classes] for part in (before, after)]
        found.metrics = Metrics.of(
            percent(before == y),
            percent(after == y),
            acc2_undefended=percent(attack_alone == y),
            acc1_defended=percent(defense_alone == y),
            acc1_padded=percent(neither == y),
            per_class=(per_class[0], per_class[1]),
            answers=answers(before == y, after == y),
            certified=None if radius is None else curve(radius, defense_alone == y),
        )

    def _attack(self, model: Model, clean: StageResult) -> PoisonSet:
        """Craft the poison set, keep it, read it back and verify it."""
        cell, attack, found = self._cell, self._cell.attack, self._findings
        recipe, rows = cell.recipe_of(type(model)), (self._train, self._validation)
        inputs = {
            "attack": code_of(attack),
            "executor": engine_hash(),
            "clean": clean.artifact.sha256,
            "rows": [tensor_hash(*_tensors(part)) for part in rows],
            "recipe": recipe.document(),
            "epsilon": self._budget.epsilon,
            "radius": self._budget.bound,
        }
        if cell.knows:
            inputs |= {"knows": code_of(cell.defense), "stand_ins": len(self._victim.shown_trusted)}

        def compute(stage: Stage) -> tuple[dict[str, Tensor], dict[str, Any]]:
            with self._stages.method(name_of(type(attack)), "crafting", "attacker"):
                poison = crafted(attack, self._view(model, recipe, clean), replace(self._budget), stage)
                tensors = poison_tensors(name_of(type(attack)), poison)
                traces = {"trace": stage.traces} if stage.traces else {}
                return tensors, _recordable(traces, poison.stats)

        done = self._stages.get_or_compute("poison", inputs, (cell.seed, "attack"), compute)
        found.seconds["attack_s"], found.attack_stats = done.seconds, dict(done.facts)
        found.artifacts.append(done.artifact)
        if reason := done.facts.get(_UNRECORDABLE):
            raise ValidationError(f"{name_of(type(attack))}'s {reason}. Return text and single numbers by name.")
        poison = PoisonSet(done.tensors["x"], done.tensors["y"], done.tensors["source"], done.facts)
        found.poison_check = self._budget.verify(poison, self._train.to(torch.device("cpu")), name_of(type(attack)))
        known = self._train.x.cpu(), self._validation.x.cpu()
        refuse_test_images(name_of(type(attack)), poison.x, self._dataset.test.x.cpu(), known)
        return poison

    def _view(self, model: Model, recipe: Recipe, clean: StageResult) -> AttackerView:
        """What the attack sees, all of it its own: it may write to anything, and changes nothing of ours."""
        view = AttackerView(
            train=self._train.copy(),
            validation=self._validation.copy(),
            model=replace(model),
            recipe=replace(recipe),
            weights={name: value.clone() for name, value in on(self._stages.device, clean.tensors).items()},
            classes=self._dataset.classes,
            rehearse=self._rehearsal(model, recipe) if self._cell.knows else None,
        )
        return data_only(view) if self._cell.threat.knowledge is Knowledge.TRAINING_DATA_ONLY else view

    def _rehearsal(self, model: Model, recipe: Recipe) -> Rehearsal:
        """The defense in the attacker's hands, with random rows of D_v for as many trusted ones."""
        rows = torch.randperm(len(self._validation), generator=child_generator(self._cell.seed, "stand-ins"))
        chosen = rows[: len(self._victim.shown_trusted)].to(self._stages.device)
        stand_ins = self._validation.rows(chosen)
        return Rehearsal(self._cell.defense, replace(model), replace(recipe), self._dataset.classes, stand_ins)


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


def _recordable(traces: Mapping[str, Any], stats: Mapping[str, Any]) -> dict[str, Any]:
    """Traces and evidence as a record has them. What it cannot have is refused once the poison set is kept."""
    try:
        return dict(plain({**traces, **stats}, "stats"))
    except ValueError as error:
        return {_UNRECORDABLE: str(error)}


def _tensors(samples: Samples) -> tuple[Tensor, Tensor, Tensor]:
    return samples.x, samples.y, samples.ids


def _trajectories(clean: StageResult, poisoned: StageResult) -> dict[str, list[Any]]:
    """See record.Trajectories."""
    return {"epochs": clean.facts[EPOCHS], "clean": clean.facts[ACCURACY], "poisoned": poisoned.facts[ACCURACY]}


def _detail(run: DefenseRun, is_poison: Tensor) -> dict[str, Any]:
    removed = ~run.kept
    hits, n_removed, n_poison = int((removed & is_poison).sum()), int(removed.sum()), int(is_poison.sum())
    return {
        "removed": n_removed,
        "precision": hits / n_removed if n_removed else None,
        "recall": hits / n_poison if n_removed else None,
        "trusted": run.trusted,
        "stats": dict(run.stats),
    }
