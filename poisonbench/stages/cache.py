"""Run a stage once: take it from the store if it is there, resume it if it was interrupted, keep it when it is done."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from poisonbench.data.base import DataFiles
from poisonbench.errors import CorruptFileError, ValidationError
from poisonbench.guard.audit import watched
from poisonbench.guard.left_behind import left_behind
from poisonbench.guard.method_errors import one_line_errors
from poisonbench.guard.process_state import ProcessState, process_kept
from poisonbench.guard.stdout import stdout_as_stderr
from poisonbench.seeding import child_generator
from poisonbench.stages.checkpoint import Checkpoint
from poisonbench.stages.stage import Deadline, Executor, Progress, SerialExecutor, Stage
from poisonbench.store.artifacts import Kind
from poisonbench.store.canonical import content_hash
from poisonbench.store.record_origin import Artifact

Tensors = dict[str, Tensor]
Compute = Callable[[Stage], tuple[Tensors, dict[str, Any]]]
"""A stage's work: the tensors and the facts to keep."""

References = Callable[[Tensors], list[str]]
"""A result's tensors ↦ the hashes of artifacts that are kept apart and belong to it."""


def _none(tensors: Tensors) -> list[str]:
    return []


@dataclass(frozen=True)
class StageResult:
    """The result of a finished stage, its tensors as read back from disk.

    Attributes:
        tensors: on the CPU.
        facts: JSON values by name.
        artifact: where the tensors are kept.
        seconds: what it cost when it was computed, interruptions included.
        reused: whether this run took it from the store.
        parts: the tensors of the artifacts that it refers to.
    """

    tensors: Tensors
    facts: Mapping[str, Any]
    artifact: Artifact
    seconds: float
    reused: bool
    parts: tuple[Tensors, ...] = ()


class TensorStore(Protocol):
    """A store of tensors; see store.artifacts.Artifacts."""

    def put(self, tensors: Mapping[str, Tensor], kind: Kind) -> Artifact:
        """Keep the tensors, and return where."""

    def get(self, sha256: str) -> Tensors:
        """Return the tensors of that hash."""

    def has(self, sha256: str) -> bool:
        """Whether the tensors of that hash are there."""


class StageStore(Protocol):
    """What stages need of a store: a Store itself, or one that is reached from another machine."""

    @property
    def home(self) -> Path:
        """A folder of this machine, for checkpoints."""

    @property
    def artifacts(self) -> TensorStore:
        """The store of tensors."""

    def stage(self, key: str) -> dict[str, Any] | None:
        """See Store."""

    def put_stage(self, key: str, kind: str, document: dict[str, Any]) -> None:
        """See Store."""

    def lock(self, key: str, *, waiting: Callable[[], None]) -> AbstractContextManager[None]:
        """See Store."""


@dataclass
class StageCache:
    """The results of stages, kept under a hash of everything that they depend on.

    Attributes:
        store: where results and checkpoints are kept.
        device: where stages compute.
        progress: who watches.
        deadline: when to stop.
        executor: what runs a stage's independent parts.
        data: the files of datasets, which no method may open.
        plugins: code of others' that takes part, by name, with its hash.
        reused: kinds of stages taken from the store so far, in order.
        computed: kinds of stages computed so far, in order.
    """

    store: StageStore
    device: torch.device
    progress: Progress
    deadline: Deadline
    executor: Executor = field(default_factory=SerialExecutor)
    data: DataFiles = field(default_factory=DataFiles)
    plugins: Mapping[str, str] = field(default_factory=dict)
    reused: list[str] = field(default_factory=list)
    computed: list[str] = field(default_factory=list)

    def get_or_compute(
        self,
        kind: Kind,
        inputs: Mapping[str, Any],
        stream: tuple[int, str],
        compute: Compute,
        references: References = _none,
    ) -> StageResult:
        """The result of the stage with these inputs: the stored one, or else one computed now and stored.

        Two processes that want the same stage do not both compute it: one works, the other waits and takes the result.
        A kill leaves checkpoints under the stage's key, from which the same call goes on.

        What is computed in a process that a plugin's code runs in is kept apart, and found only where that code runs
        as well: what a plugin does to its process reaches no result but those of its own cells.

        Args:
            kind: what is kept (weights, poison).
            inputs: everything the result depends on; hashed, in any order, into the stage's key.
            stream: seed and name of the stage's random stream.
            compute: the work.
            references: what the result needs beside its own artifact; where one of them is lost or damaged, the stage
                is computed again.
        """
        keys = self._keys({"kind": kind, "inputs": inputs, "stream": list(stream)})
        key = keys[-1]
        done = next(filter(None, (self._finished(one, references) for one in keys)), None)
        if done is None:
            with self._locked(key, kind):
                done = self._finished(key, references)
                if done is None:
                    self.computed.append(kind)
                    return self._compute(key, kind, stream, compute, references)
        self.reused.append(kind)
        return done

    def _keys(self, document: Mapping[str, Any]) -> list[str]:
        """Of a stage computed without plugins, beside some of them, and, last, beside all of them."""
        codes = sorted(set(self.plugins.values()))
        sets = itertools.chain.from_iterable(itertools.combinations(codes, n) for n in range(len(codes) + 1))
        return [content_hash({**document, "beside": list(some)} if some else document) for some in sets]

    @contextmanager
    def method(self, author: str, doing: str, side: str) -> Iterator[ProcessState]:
        """Run a method's code: what it prints goes to standard error, what it raises becomes an error of ours, what it
        does to the process is undone. Gives the state that the process is in, for what is ours within.

        Args:
            author: the method's name, for messages.
            doing: crafting or defending.
            side: attacker or defender.
        Raises:
            ValidationError: if it reached for data that its view does not hold.
            PoisonbenchError: see method_errors.one_line_errors.
        """
        own = [self.store.home / part for part in ("artifacts", "checkpoints", "locks")]
        watch = watched(author, doing, side, self.data.folders, self.data.names, own)
        with watch, one_line_errors(author), stdout_as_stderr(), process_kept() as ours:
            yield ours

    @contextmanager
    def unharmed(self, doing: str) -> Iterator[None]:
        """Run plugins' code, where there is any, and refuse what it leaves behind: see guard.left_behind.

        Raises:
            ValidationError: at the end, if it did; names the first such thing.
        """
        if not self.plugins:
            yield
            return
        with left_behind() as acts:
            yield
        if acts:
            more = f" (and {len(acts) - 1} more)" if len(acts) > 1 else ""
            authors = " or ".join(f"the {name}" for name in self.plugins)
            raise ValidationError(
                f"{authors} {acts[0]}{more} while {doing}, which cannot be undone; leave the process as it was."
            )

    @contextmanager
    def _locked(self, key: str, kind: Kind) -> Iterator[None]:
        """Hold the stage's lock; while another process does, the bar says what is being waited for."""
        task = f"waiting for another run's {kind}"
        with ExitStack() as bar:

            def waiting() -> None:
                self.progress.begin(task, None, 0)
                bar.callback(self.progress.end, task)

            with self.store.lock(key, waiting=waiting):
                bar.close()
                yield

    def _compute(
        self, key: str, kind: Kind, stream: tuple[int, str], compute: Compute, references: References
    ) -> StageResult:
        checkpoint = Checkpoint(self.store.home / "checkpoints" / key)
        before = checkpoint.seconds()
        stage = Stage(child_generator(*stream), self.device, self.progress, checkpoint, self.deadline, self.executor)
        began = stage.now()
        with self.unharmed(f"computing the {kind}"), process_kept():
            tensors, facts = compute(stage)
        seconds = before + stage.now() - began
        artifact = self.store.artifacts.put(tensors, kind)
        self.store.put_stage(
            key, kind, {"facts": facts, "artifact": artifact.model_dump(mode="json"), "seconds": seconds}
        )
        checkpoint.clear()
        kept = self.store.artifacts.get(artifact.sha256)
        parts = tuple(map(self.store.artifacts.get, references(kept)))
        return StageResult(kept, facts, artifact, seconds, reused=False, parts=parts)

    def _finished(self, key: str, references: References) -> StageResult | None:
        document = self.store.stage(key)
        if document is None:
            return None
        artifact = Artifact.model_validate(document["artifact"])
        if not self.store.artifacts.has(artifact.sha256):
            return None
        try:
            tensors = self.store.artifacts.get(artifact.sha256)
            names = references(tensors)
            if not all(map(self.store.artifacts.has, names)):
                return None
            parts = tuple(map(self.store.artifacts.get, names))
        except CorruptFileError:  # computed again, it is written again
            return None
        return StageResult(tensors, document["facts"], artifact, document["seconds"], reused=True, parts=parts)
