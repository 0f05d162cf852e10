"""A sweep as an array job of Slurm: each task is the sweep's own command line with a share of the cells.

Of submitit and an array script of our own the script was taken: submitit pickles what a task calls into a shared folder
and unpickles it there, a CommandFunction too, and nothing here is ever unpickled. A command line says it all, since
every task plans the same cells of the same flags, and the store tells what is done.
"""

from __future__ import annotations

import getpass
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from poisonbench.counted import counted
from poisonbench.errors import ClusterError, ConfigError, PoisonbenchError
from poisonbench.experiment.cell import Cell
from poisonbench.experiment.runner import Outcome, Runner
from poisonbench.plugged import VARIABLE
from poisonbench.store.canonical import content_hash
from poisonbench.sweeps.plan import Watch
from poisonbench.sweeps.shares import crafted, deal

TASKS = 100
"""Tasks of an array at most, unless asked for; Slurm itself takes 1,000 as a rule."""

_POLL_S = 5.0
_SILENCE_S = 300.0
"""How long squeue may fail: a controller restarts."""

_OURS = ("array", "job-name", "parsable", "wait", "wrap", "chdir", "test-only")
_EXPORTED = ("POISONBENCH_HOME", VARIABLE)


@dataclass(frozen=True)
class Options:
    """How an array is submitted.

    Attributes:
        tasks: in it, at most.
        at_once: of them that run at a time, or None for as many as Slurm lets.
        sbatch: other options of sbatch, by their long names.
    """

    tasks: int = TASKS
    at_once: int | None = None
    sbatch: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, texts: Sequence[str]) -> Options:
        """Read every `--slurm key=value`.

        Raises:
            ConfigError: for one of another form, a key that is given twice, or one that is not the user's to set.
        """
        found: dict[str, str] = {}
        for text in texts:
            key, equals, value = text.partition("=")
            if not equals or not value.strip() or not re.fullmatch(r"[a-z][a-z-]*", key) or not value.isprintable():
                raise ConfigError(
                    f"--slurm {text!r}: expected key=value with tasks, at-once or a long option of sbatch, such as "
                    "time=2:00:00."
                )
            if key in _OURS:
                raise ConfigError(f"--slurm {key}: set by poisonbench itself; leave it out.")
            if key in found:
                raise ConfigError(f"--slurm {key} is given twice.")
            found[key] = value
        at_once = _number("at-once", found.pop("at-once")) if "at-once" in found else None
        return cls(_number("tasks", found.pop("tasks", str(TASKS))), at_once, found)


def _number(key: str, text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,5}", text):
        raise ConfigError(f"--slurm {key}={text}: expected a whole number above 0.")
    return int(text)


@dataclass(frozen=True)
class SlurmArray:
    """The tasks of an array job; a Pool. The tasks write their records themselves, and this process reads them.

    It may end, by Ctrl-C too, and the array goes on. Whoever starts the same sweep again waits for it.

    Attributes:
        runner: with the store, which all machines reach.
        cells: of the whole sweep, done or not.
        command: arguments of poisonbench that run the whole sweep.
        options: of the array.
        say: takes a line for the user.
        poll_s: seconds between two looks at the queue.
    """

    runner: Runner
    cells: Sequence[Cell]
    command: Sequence[str]
    options: Options
    say: Callable[[str], None]
    poll_s: float = _POLL_S

    @property
    def room(self) -> int:
        """How many tasks there are at most."""
        return max(1, min(self.options.tasks, crafted(self.cells)))

    @property
    def name(self) -> str:
        """The job's: the same for the same cells in the same store."""
        return f"poisonbench-{content_hash([str(self.runner.store.location), *(c.hash() for c in self.cells)])[:16]}"

    def run(self, cells: Sequence[Cell], watch: Watch) -> Iterator[Outcome]:
        """See Pool.

        Raises:
            ConfigError: if there is no Slurm here, or it refuses the job.
            ClusterError: if its tasks are over and left cells without a record.
        """
        due = {cell.hash(): cell for cell in cells}
        old = {row.record_id for row in self.runner.store.rows(cell_hash=list(due))}
        if jobs := self.queued():
            self.say(f"Slurm has job {', '.join(jobs)} of this sweep already; waiting for it.")
            yield from self._wait(due, old, watch)
        if due:
            self.submit(list(due.values()))
            yield from self._wait(due, old, watch)
        if due:
            raise ClusterError(
                f"{counted(len(due), 'cell')} without a record, though Slurm's tasks are over: they ended early. Run "
                f"the same command again to go on, with more time. Logs are in {self.runner.store.home / 'slurm'}."
            )

    def submit(self, cells: Sequence[Cell]) -> None:
        """Submit an array of the shares that those cells are in.

        Raises:
            ConfigError: see `run`.
        """
        due = {cell.hash() for cell in cells}
        numbers = [n for n, part in enumerate(deal(self.cells, self.room), 1) if any(c.hash() in due for c in part)]
        limit = f"%{self.options.at_once}" if self.options.at_once else ""
        logs = self.runner.store.home / "slurm"
        logs.mkdir(parents=True, exist_ok=True)
        options = {"output": str(logs / "%A_%a.out"), **self.options.sbatch}
        self.runner.store.share()
        done = _slurm(
            "sbatch",
            "--parsable",
            f"--job-name={self.name}",
            f"--array={','.join(map(str, numbers))}{limit}",
            *(f"--{key}={value}" for key, value in options.items()),
            script=self.script(),
        )
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[0][:300]
            raise ConfigError(f"--slurm: sbatch refuses the job: {reason}")
        job = done.stdout.strip().partition(";")[0]
        size = f"{counted(len(cells), 'cell')} in {counted(len(numbers), 'task')}"
        self.say(f"Slurm's job {job}: {size}. `scancel {job}` ends it.")

    def script(self) -> str:
        """What each task runs."""
        words = [sys.executable, "-P", "-m", "poisonbench", *self.command]
        words += [] if {"--quiet", "-q"} & set(self.command) else ["--quiet"]
        kept = [f"export {name}={shlex.quote(os.environ[name])}" for name in _EXPORTED if name in os.environ]
        return "\n".join(
            [
                "#!/bin/sh",
                *kept,
                'export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"',
                f'exec {shlex.join(words)} --share "$SLURM_ARRAY_TASK_ID/{self.room}"',
                "",
            ]
        )

    def queued(self) -> list[str]:
        """Jobs of this sweep that wait or run.

        Raises:
            ConfigError: if there is no Slurm here.
            ClusterError: if it does not answer.
        """
        until = time.monotonic() + _SILENCE_S
        while True:
            done = _slurm("squeue", "--noheader", "--format=%F", f"--name={self.name}", f"--user={getpass.getuser()}")
            if done.returncode == 0:
                return sorted(set(done.stdout.split()))
            if time.monotonic() > until:
                reason = (done.stderr.strip().splitlines() or ["no reason given"])[0][:300]
                raise ClusterError(f"Slurm does not answer: {reason}. Run the same command again to go on from there.")
            time.sleep(self.poll_s)

    def _wait(self, due: dict[str, Cell], old: set[str], watch: Watch) -> Iterator[Outcome]:
        """Outcomes as they come, until the queue has no more of it; takes them out of `due`."""
        more = True
        while more and due:
            more = bool(self.queued())  # before the look at the store: what is over by then has written its records
            for row in self.runner.store.rows(cell_hash=list(due)):
                if row.record_id in old or row.cell_hash not in due:
                    continue
                cell = due.pop(row.cell_hash)
                outcome = self._outcome(row.record_id, row.cell_hash)
                watch.ended(cell, outcome)
                yield outcome
            if more and due:
                time.sleep(self.poll_s)

    def _outcome(self, record_id: str, cell_hash: str) -> Outcome:
        record = self.runner.store.record(record_id)
        error: Any = None
        if record.status != "ok":
            error = PoisonbenchError(record.error or record.status)
            error.exit_code = self.runner.store.failures([cell_hash]).get(cell_hash, ("", 1))[1]
        return Outcome(record, error, [], [])


def _slurm(program: str, *arguments: str, script: str | None = None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run([program, *arguments], input=script, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise ConfigError(f"--slurm: there is no {program} here. Run it where jobs are submitted.") from None
