"""Training again in a process of its own, as whenever a plugin takes part: only a defense's code is ever needed.

Neither the process that judges and signs nor the verification of another record shares a process with it; it comes in
late, after what is trained on clean rows alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing import connection
from typing import Any

from poisonbench.data.base import data_files, prepare
from poisonbench.errors import PoisonbenchError
from poisonbench.experiment.runner import pretrain
from poisonbench.plugins import defense_names
from poisonbench.plugins.child_process import Child
from poisonbench.plugins.registry import entries, try_plugin
from poisonbench.problem.samples import PoisonSet
from poisonbench.stages.stage import Progress
from poisonbench.store.artifacts import from_bytes, to_bytes
from poisonbench.store.record import Record
from poisonbench.submission.evidence import rules
from poisonbench.submission.reexecution import Reexecution, reexecute, undefended
from poisonbench.sweeps.workers.listener import Listener, overdue
from poisonbench.sweeps.workers.own_process import OwnProcess, ended_by

_POLL_S = 0.1


@dataclass(frozen=True)
class Task:
    """What a process is to verify.

    Attributes:
        record: that nothing is wrong with.
        poison: its poison set, a safetensors file.
        given: what the process works with.
    """

    record: Record
    poison: bytes
    given: OwnProcess


def plugins_of(record: Record) -> list[str]:
    """The names of a record's defenses that are plugins here; imports none."""
    known = entries("defense")
    names = [part.name for part in defense_names.parts(record.defense.name)]
    return [name for name in names if name in known and not known[name].built_in]


def reexecute_apart(record: Record, poison: PoisonSet, given: OwnProcess, progress: Progress) -> Reexecution:
    """See reexecute.

    Args:
        record: that evidence.Validator.check found nothing wrong with.
        poison: its poison set.
        given: what the process works with.
        progress: who watches.
    Raises:
        PoisonbenchError: what became of it; a process that ended or hung is a line, too.
    """
    plugins = plugins_of(record)
    for name in plugins:
        try_plugin("defense", name)
    tensors = {"x": poison.x, "y": poison.y, "source": poison.source}
    child, listener = Child.start(_verify, Task(record, to_bytes(tensors), given)), Listener(progress)
    try:
        return _said(child, given, listener, [f"defense {name}" for name in plugins])
    finally:
        child.kill()
        progress.end(listener.task)


def _said(child: Child, given: OwnProcess, listener: Listener, plugins: Sequence[str]) -> Reexecution:
    while not child.is_over():
        connection.wait([child.connection, child.process.sentinel], _POLL_S)
        listener.hear(given.reports.read(given.owner))
        if listener.hangs(given.timeout):
            raise overdue()
    if not child.said:
        raise ended_by(plugins, child.ending())
    found: Reexecution | PoisonbenchError = child.said[0]
    if isinstance(found, PoisonbenchError):
        raise found
    return found


def _verify(send: Callable[[Any], None], task: Task) -> None:
    """The work of a process."""
    record, settings, data = task.record, rules(task.record), task.given.data
    with task.given.stages() as stages:
        try:
            dataset = prepare(settings.protocol.dataset, data)
            pretrain(undefended(record, settings, dataset), dataset, stages)
            watched = replace(stages, data=data_files(data))
            rows = from_bytes(task.poison, "the poison set")
            send(reexecute(record, settings, PoisonSet(rows["x"], rows["y"], rows["source"]), dataset, watched))
        except PoisonbenchError as error:
            send(error)
