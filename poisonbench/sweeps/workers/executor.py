"""Independent parts of a stage as Ray tasks: the executor of attacks that play several games side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import ray
import torch
from torch import Tensor

from poisonbench.stages.checkpoint import Checkpoint
from poisonbench.stages.stage import Deadline, Silent, Stage, Trace

T = TypeVar("T")


@dataclass(frozen=True)
class Share:
    """The resources of a cluster that one worker takes.

    Attributes:
        threads: CPU threads, and CPUs in Ray's book-keeping.
        gpus: GPUs, or a part of one.
    """

    threads: int
    gpus: float = 0.0

    def options(self) -> dict[str, Any]:
        """Keyword arguments of `ray.remote(...).options`."""
        return {"num_cpus": self.threads, "num_gpus": self.gpus}

    def fits(self, resources: dict[str, float]) -> int:
        """How many workers fit into those resources."""
        rooms = [resources.get("CPU", 0.0) / self.threads]
        if self.gpus:
            rooms.append(resources.get("GPU", 0.0) / self.gpus)
        return int(min(rooms) + 1e-6)


@dataclass(frozen=True)
class _Packed:
    """A stage that can travel: it holds no open file and no clock of this machine."""

    random_state: Tensor
    device: str
    checkpoint: Checkpoint
    seconds_left: float | None

    @classmethod
    def of(cls, stage: Stage) -> _Packed:
        at = stage.deadline.at
        left = None if at is None else at - time.monotonic()
        return cls(stage.generator.get_state(), str(stage.device), stage.checkpoint, left)

    def unpack(self) -> Stage:
        generator = torch.Generator()
        generator.set_state(self.random_state)
        deadline = Deadline.after(self.seconds_left)
        return Stage(generator, torch.device(self.device), Silent(), self.checkpoint, deadline)


@dataclass(frozen=True)
class RayExecutor:
    """Runs parts on free workers of the cluster and one share of them here; see stage.Executor.

    Only workers that are free now are asked: parts never wait for a cell to end, so cells and parts cannot wait for
    each other in a circle. A worker that dies is replaced by Ray; the part goes on from its checkpoint if the new one
    is on the same machine.

    Attributes:
        share: what each of them takes.
        apart: whether each part has a process of its own, since a plugin's code runs in it.
    """

    share: Share
    apart: bool = False

    def map(self, work: Callable[[int, Stage], T], stages: Sequence[Stage]) -> list[T]:
        """See Executor."""
        others = min(len(stages) - 1, self.share.fits(ray.available_resources()))
        shares = [range(first, len(stages), others + 1) for first in range(others + 1)]
        shipped = ray.put(work) if others else None
        start = ray.remote(max_calls=int(self.apart))(_work).options(**self.share.options(), max_retries=3)
        waiting = [
            start.remote(shipped, [(k, _Packed.of(stages[k])) for k in part], torch.get_num_threads())
            for part in shares[1:]
        ]
        found: dict[int, T] = {k: work(k, stages[k]) for k in shares[0]}
        for part in ray.get(waiting):
            for k, (result, traces) in part.items():
                found[k] = result
                stages[k].traces.update(traces)
        return [found[k] for k in range(len(stages))]


def _work(
    work: Callable[[int, Stage], T], parts: Sequence[tuple[int, _Packed]], threads: int
) -> dict[int, tuple[T, dict[str, Trace]]]:
    torch.set_num_threads(threads)
    stages = {k: packed.unpack() for k, packed in parts}
    return {k: (work(k, stage), stage.traces) for k, stage in stages.items()}
