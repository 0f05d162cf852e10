"""What a long computation is handed: a random stream, a device, a progress bar, a checkpoint and a deadline."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

import torch

from poisonbench.errors import StageTimeoutError
from poisonbench.stages.checkpoint import Checkpoint, Point, Saved

SAVE_EVERY_S = 5.0

TRACE_POINTS = 50
"""A loop's trace has at most that many points, evenly spaced, the last step among them; and that at which it ended, if
it ended early."""

Trace = dict[str, list[float | None]]
"""`step`, and each measure at those steps; None where it was not reported or not finite."""

T = TypeVar("T")


class Progress(Protocol):
    """An observer of loops: a bar on a terminal, a log, or nobody."""

    def begin(self, task: str, total: int | None, done: int) -> None:
        """Loop `task` starts (or resumes) at `done` of `total` steps; None if nobody can know how many."""

    def advance(self, task: str, done: int, measures: dict[str, float]) -> None:
        """`done` steps are complete; `measures` are the latest losses and residuals by name."""

    def end(self, task: str) -> None:
        """Loop `task` is over."""


class Silent:
    """A Progress that shows nothing."""

    def begin(self, task: str, total: int | None, done: int) -> None:
        """Ignore."""

    def advance(self, task: str, done: int, measures: dict[str, float]) -> None:
        """Ignore."""

    def end(self, task: str) -> None:
        """Ignore."""


@dataclass(frozen=True)
class Deadline:
    """A moment on the monotonic clock, or never."""

    at: float | None = None

    @classmethod
    def after(cls, seconds: float | None) -> Deadline:
        """The moment `seconds` from now; None means never."""
        return cls(None if seconds is None else time.monotonic() + seconds)

    @property
    def passed(self) -> bool:
        """Whether the moment is behind us."""
        return self.at is not None and time.monotonic() > self.at


class Executor(Protocol):
    """Runs the independent parts of a computation, in this process or in others; see concurrent.futures."""

    def map(self, work: Callable[[int, Stage], T], stages: Sequence[Stage]) -> list[T]:
        """Return work(k, stages[k]) for every k, in the order of k."""


class SerialExecutor:
    """Runs one part after the other, in this process."""

    def map(self, work: Callable[[int, Stage], T], stages: Sequence[Stage]) -> list[T]:
        """See Executor."""
        return [work(k, stage) for k, stage in enumerate(stages)]


@dataclass(frozen=True)
class Stage:
    """The context of one long computation.

    Attributes:
        generator: the stage's own child stream, on the CPU; draw there, then move.
        device: where tensors live; the data given to the stage is already there.
        progress: who watches.
        checkpoint: where loops are saved.
        deadline: when to stop.
        executor: what runs independent parts.
        measures: the latest figures of the running loop (`report`), shown beside its bar.
        reported: those of the running step alone, for its trace: a resumed loop knows no earlier ones.
        traces: how the measures went, by loop; of loops that reported any.
        untimed_s: seconds of everything that was `untimed`.
    """

    generator: torch.Generator
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    progress: Progress = field(default_factory=Silent)
    checkpoint: Checkpoint = field(default_factory=lambda: Checkpoint(None))
    deadline: Deadline = field(default_factory=Deadline)
    executor: Executor = field(default_factory=SerialExecutor)
    measures: dict[str, float] = field(default_factory=dict)
    reported: dict[str, float] = field(default_factory=dict)
    traces: dict[str, Trace] = field(default_factory=dict)
    untimed_s: list[float] = field(default_factory=list)

    @contextmanager
    def untimed(self) -> Iterator[None]:
        """Work that is none of the computation's, such as looking at how it gets on: its seconds do not count."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.untimed_s.append(time.monotonic() - began)

    def now(self) -> float:
        """Seconds on a clock that stands still while work is untimed."""
        return time.monotonic() - sum(self.untimed_s)

    def within(self, task: str, generator: torch.Generator) -> Stage:
        """A stage for one task of this one that runs loops of its own, in several of which they may have one name: with
        another random stream, saves under the task's name, and traces that are not kept."""
        checkpoint = self.checkpoint.within(task)
        return replace(self, generator=generator, checkpoint=checkpoint, measures={}, reported={}, traces={})

    def report(self, **measures: float) -> None:
        """Show figures (loss, validation loss, residual) beside the running loop's bar, and keep them in its trace."""
        self.measures.update(measures)
        self.reported.update(measures)

    @staticmethod
    def traced(step: int, total: int) -> bool:
        """Whether the loop's trace has a point after that step (from 0): the moment for figures that cost something."""
        return (step + 1) % math.ceil(total / TRACE_POINTS) == 0 or step + 1 == total

    def steps(self, task: str, total: int, state: dict[str, torch.Tensor]) -> Iterator[int]:
        """Count from 0 to total − 1 over a loop that can be killed at any moment and resumed to the same bits.

        `state` holds everything the loop changes. On entry it takes the values of the last save of `task`, if there
        is one, and counting goes on where that save stood; the random stream goes back to where it was. After a step,
        if the last save is older than SAVE_EVERY_S, the state is saved; once more at the end, so that a finished loop
        is not run again when a later loop of the same stage is resumed.

        Raises:
            StageTimeoutError: after a step that ends past the deadline; the state is saved first.
        """
        device_of = {key: value.device for key, value in state.items()}
        saved = self.checkpoint.load(task)
        start, spent = 0, 0.0
        points: list[Point] = []
        if saved is not None and saved.tensors.keys() == state.keys():
            start, spent, points = saved.step, saved.seconds, saved.points
            state.update({key: value.to(device_of[key]) for key, value in saved.tensors.items()})
            self.generator.set_state(saved.generator)

        began, last_save = self.now(), time.monotonic()
        self.measures.clear()
        self.progress.begin(task, total, start)
        try:
            for step in range(start, total):
                self.reported.clear()
                try:
                    yield step
                except GeneratorExit:  # the caller leaves the loop: what was reported last stays in the trace
                    self._trace(step, total, points)
                    raise
                now = time.monotonic()
                self.progress.advance(task, step + 1, self.measures)
                self._trace(step, total, points)
                late = self.deadline.passed
                if self.checkpoint.kept and (late or now - last_save > SAVE_EVERY_S):
                    self._save(task, step + 1, spent + self.now() - began, state, points)
                    last_save = time.monotonic()
                if late:
                    raise StageTimeoutError(
                        f"{task} passed its deadline after step {step + 1} of {total}. Run again to resume from there, "
                        f"with a larger --timeout."
                    )
            self._drop_untraced(total, points)
        finally:
            self.progress.end(task)
            if points:
                names = dict.fromkeys(name for point in points for name in point)
                self.traces[task] = {name: [point.get(name) for point in points] for name in names}
        if start < total and self.now() - began > SAVE_EVERY_S:
            self._save(task, total, spent + self.now() - began, state, points)

    def _trace(self, step: int, total: int, points: list[Point]) -> None:
        """Add what the step reported, if anything, in the place of the latest unless that is to stay: where the loop
        ends early, or is killed, its latest point is the last."""
        if self.reported:
            self._drop_untraced(total, points)
            figures = {name: _rounded(figure) for name, figure in self.reported.items()}
            points.append({"step": step + 1, **figures})

    def _drop_untraced(self, total: int, points: list[Point]) -> None:
        if points and not self.traced(int(points[-1]["step"] or 0) - 1, total):
            points.pop()

    def each(self, work: Callable[[int, Stage], T], parts: int) -> list[T]:
        """Run independent parts of this computation, which the executor may run at the same time: work(k, stage) for
        k < parts.

        Every part has a random stream of its own, drawn from this one, so that the result does not depend on where and
        when a part runs; a single part is the whole and has this stage. `work` may travel to another process: it hands
        its result back and changes nothing, and names its loops by k, since all parts share one checkpoint.
        """
        if parts == 1:
            return [work(0, self)]
        seeds = torch.randint(2**63 - 1, (parts,), generator=self.generator).tolist()
        stages = [
            replace(self, generator=torch.Generator().manual_seed(seed), measures={}, reported={}) for seed in seeds
        ]
        return self.executor.map(work, stages)

    @contextmanager
    def counted(self, task: str) -> Iterator[Callable[[], None]]:
        """Watch work whose length nobody knows and that cannot be resumed: call what this gives once a step.

        Raises:
            StageTimeoutError: from that call, past the deadline.
        """
        done = 0

        def tick() -> None:
            nonlocal done
            done += 1
            self.progress.advance(task, done, self.measures)
            if self.deadline.passed:
                raise StageTimeoutError(
                    f"{task} passed its deadline after step {done}. Run again with a larger --timeout."
                )

        self.measures.clear()
        self.progress.begin(task, None, 0)
        try:
            yield tick
        finally:
            self.progress.end(task)

    def _save(
        self,
        task: str,
        step: int,
        seconds: float,
        state: dict[str, torch.Tensor],
        points: list[Point],
    ) -> None:
        self.checkpoint.save(task, Saved(step, seconds, state, self.generator.get_state(), points))


def _rounded(figure: float) -> float | None:
    """The figure to six digits, as a plot needs; None if it is not finite, since JSON has no infinity."""
    return float(f"{figure:.6g}") if math.isfinite(figure) else None
