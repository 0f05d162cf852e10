"""What a cell has found so far, and the record it becomes: complete, or as far as it came."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import torch

from poisonbench.data.split import split_sizes
from poisonbench.errors import PoisonbenchError
from poisonbench.experiment.cell import Cell, method
from poisonbench.experiment.cell_hash import recorded_cell_hash
from poisonbench.guard.method_errors import first_line
from poisonbench.identity import versions
from poisonbench.plugins.registry import code_hash_of, load, name_of, version_of
from poisonbench.problem.budget import Budget
from poisonbench.problem.samples import Dataset
from poisonbench.process import environment
from poisonbench.store.record import Record
from poisonbench.store.record_origin import Artifact
from poisonbench.store.record_results import Metrics


@dataclass
class Findings:
    """Filled in by the runner, stage by stage.

    Attributes:
        n_params: of the target model.
        metrics: accuracies.
        trajectories: test accuracy by epoch.
        defense_detail: rows removed, precision, recall, the defense's own evidence.
        poison_check: what `Budget.verify` saw.
        attack_stats: the attack's own evidence; `solver_*` of it also fills the record's `solver`.
        seconds: by timing field; a stage taken from the store counts what it cost when it was computed, so that times
            do not depend on what happened to be cached. Their sum is the record's `total_s`.
        memory: peaks.
        artifacts: files kept.
    """

    n_params: int = 0
    metrics: Metrics | None = None
    trajectories: dict[str, list[Any]] | None = None
    defense_detail: dict[str, Any] | None = None
    poison_check: dict[str, Any] | None = None
    attack_stats: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    memory: dict[str, float | None] = field(default_factory=dict)
    artifacts: list[Artifact] = field(default_factory=list)

    def replayed(
        self, submitted: Record, cell: Cell, device: torch.device, started: datetime, finished: datetime
    ) -> Record:
        """The record of the submitted one's cell as it was found again. Of its attack, which was not called, it has
        what was submitted: name, code, fields, evidence, time and poison set."""
        document = {key: value for key, value in submitted.document().items() if key != "record_id"}
        data = load("dataset", submitted.dataset.name)
        attack_s = submitted.timing.attack_s
        seconds = self.seconds | ({} if attack_s is None else {"attack_s": attack_s})
        poison = [artifact for artifact in submitted.artifacts if artifact.kind == "poison"]
        fields = document | {
            "engine": {"version": versions.ENGINE, "code_hash": versions.engine_hash()},
            "dataset": document["dataset"] | {"code_hash": code_hash_of(data)},
            "model": document["model"] | {"code_hash": code_hash_of(cell.model), "n_params": self.n_params},
            "defense": method("defense", cell.defense),
            "metrics": self.metrics,
            "trajectories": self.trajectories,
            "defense_detail": self.defense_detail,
            "poison_check": self.poison_check,
            "timing": seconds | {"total_s": sum(seconds.values())},
            "memory": self.memory,
            "environment": environment.describe(device),
            "artifacts": [*poison, *self.artifacts],
            "started_at": started.isoformat(),
            "finished_at": finished.isoformat(),
            "provenance": {"source": "submission"},
        }
        found = Record.create(**fields)
        return Record.create(**fields | {"cell_hash": recorded_cell_hash(found) or found.cell_hash})

    def record(
        self,
        cell: Cell,
        dataset: Dataset,
        budget: Budget,
        seeds: dict[str, int],
        device: torch.device,
        error: PoisonbenchError | None,
        started: datetime,
        finished: datetime,
    ) -> Record:
        """The record of this cell; without metrics if there was an error."""
        protocol, threat = cell.settings.protocol, cell.threat
        sizes = split_sizes(len(dataset.train), protocol.validation, protocol.train_rows, protocol.trusted)
        data, stats = load("dataset", dataset.name), self.attack_stats
        solver = {key: stats[f"solver_{key}"] for key in ("steps", "residual", "converged") if f"solver_{key}" in stats}
        return Record.create(
            cell_hash=cell.hash(),
            status=error.status if error else "ok",
            error=first_line(error) if error else None,
            protocol={
                "name": protocol.name,
                "version": protocol.version,
                "hash": cell.settings.hash,
                "locked": cell.settings.released,
                "deviations": cell.deviations,
            },
            engine={"version": versions.ENGINE, "code_hash": versions.engine_hash()},
            dataset={
                "name": dataset.name,
                "version": version_of(data),
                "code_hash": code_hash_of(data),
                "sha256": dataset.sha256,
                "n_train": budget.n_train,
                "n_val": sizes.validation,
                "n_trusted": sizes.trusted,
                "n_test": len(dataset.test),
            },
            model={
                "name": name_of(cell.model),
                "version": version_of(cell.model),
                "code_hash": code_hash_of(cell.model),
                "n_params": self.n_params,
            },
            surrogate=cell.transfer,
            surrogate_version=version_of(cell.surrogate) if cell.transfer else None,
            surrogate_code=code_hash_of(cell.surrogate) if cell.transfer else None,
            attack=cell.attack_method,
            defense=method("defense", cell.defense),
            threat={
                "knowledge": threat.knowledge.value,
                "mode": threat.mode.value,
                "clean_label": threat.clean_label,
                "epsilon": budget.epsilon,
                "n_poison": self.poison_check["n_poison"] if self.poison_check else budget.n_poison,
                "denominator": budget.n_train,
                "norm_bound": budget.bound,
            },
            seeds={"run": cell.seed, **seeds},
            metrics=None if error else self.metrics,
            trajectories=None if error else self.trajectories,
            defense_detail=self.defense_detail,
            poison_check=self.poison_check,
            timing={**self.seconds, "total_s": sum(self.seconds.values())},
            memory=self.memory,
            solver=solver if len(solver) == 3 else None,
            attack_stats={key: value for key, value in stats.items() if not key.startswith("solver_")},
            environment=environment.describe(device),
            artifacts=self.artifacts,
            started_at=started.isoformat(),
            finished_at=finished.isoformat(),
        )
