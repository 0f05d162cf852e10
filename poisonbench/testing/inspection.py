"""What has a name, checked in a process of its own: import it, configure it, run its contract, tell as it goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from poisonbench.attacks.base import Attack
from poisonbench.data.base import DataOptions, DatasetSource, data_files
from poisonbench.defenses.base import Defense
from poisonbench.errors import PluginError, PoisonbenchError
from poisonbench.guard.audit import noticed
from poisonbench.guard.method_errors import told
from poisonbench.models.base import Model
from poisonbench.plugins.child_process import listen
from poisonbench.plugins.registry import configure, entries, load
from poisonbench.testing.attack_contract import AttackContract
from poisonbench.testing.checklist import Verdict, checks, verdicts
from poisonbench.testing.contract import Checks
from poisonbench.testing.dataset_contract import DatasetContract
from poisonbench.testing.defense_contract import DefenseContract
from poisonbench.testing.game import Game
from poisonbench.testing.model_contract import ModelContract

CONTRACTS: Mapping[str, type[Checks]] = {
    "attack": AttackContract,
    "defense": DefenseContract,
    "model": ModelContract,
    "dataset": DatasetContract,
}
BASES: Mapping[str, type] = {"attack": Attack, "defense": Defense, "model": Model, "dataset": DatasetSource}

_GRACE_S = 1.0
"""A fresh process that hangs is to be told as such, by the check that started it."""

_IMPORTS = Verdict("imports", "Imports, opens no data meanwhile, takes its settings", "ok")


@dataclass(frozen=True)
class Subject:
    """A method, model or dataset to be checked, by name.

    Attributes:
        kind: attack, defense, model or dataset.
        name: as registered.
        settings: fields of a method that differ from their defaults.
        game: the game that it is run on.
        options: where a dataset may be taken from.
    """

    kind: str
    name: str
    settings: Mapping[str, Any]
    game: Game
    options: DataOptions = field(default_factory=DataOptions)


def examine(subject: Subject, limit: float) -> Iterator[Verdict]:
    """The verdict of each check as it is reached. A method that hangs or ends its process fails the check that it does
    so in; those behind it are not run.

    Raises:
        UsageError: for settings that the method does not take.
    """
    waiting = [_IMPORTS, *checks(CONTRACTS[subject.kind])]
    try:
        for message in listen(_examine, (subject, limit), limit + _GRACE_S):
            if isinstance(message, PoisonbenchError):
                raise message
            waiting = [verdict for verdict in waiting if verdict.check != message.check]
            yield message
        reason = "not run."
    except TimeoutError:
        reason, fix = f"it did not end within {limit:g} s.", "Find what waits; --timeout raises the limit."
        yield replace(waiting.pop(0), status="failed", reason=reason, fix=fix, seconds=limit)
        reason = "not run, since an earlier check did not end."
    except ChildProcessError as error:
        fix = "Return or raise; never call exit or os._exit, and see whether memory ran out."
        yield replace(waiting.pop(0), status="failed", reason=f"it ended the process: {error}.", fix=fix)
        reason = "not run, since the process ended."
    for verdict in waiting:
        yield replace(verdict, status="skipped", reason=reason)


def _examine(send: Callable[[Any], None], request: tuple[Subject, float]) -> None:
    """The work of the process that the method is checked in: send each verdict."""
    subject, limit = request
    entry = entries(subject.kind).get(subject.name)
    # To ask a dataset beside the method would import the method with it, before anybody watches.
    data = data_files(DataOptions(), apart_from=entry.distribution if entry else None)
    try:
        with noticed(data.folders, data.names) as acts:
            cls = load(subject.kind, subject.name)
            if not issubclass(cls, BASES[subject.kind]):
                raise PluginError(f"it is no subclass of poisonbench's {BASES[subject.kind].__name__}.")
            method = _made(subject, cls)
        if acts:
            raise PluginError(f"{subject.name} {'; '.join(acts)} while it was imported: it sees its view alone.")
    except PoisonbenchError as error:
        send(_broken(str(error)) if isinstance(error, PluginError) else type(error)(str(error)))
        return
    except BaseException as fault:
        send(_broken(told(fault)))
        return
    send(_IMPORTS)
    own = {subject.kind: method, "game": subject.game, "options": subject.options, "limit": limit}
    contract = type("Checked", (CONTRACTS[subject.kind],), own)
    for verdict in verdicts(contract):
        send(verdict)


def _made(subject: Subject, cls: type) -> Any:
    """What the contract is about: a method with its fields, a model's class, a dataset."""
    if subject.kind == "model":
        return cls
    return cls() if subject.kind == "dataset" else configure(cls, subject.settings, subject.kind)


def _broken(reason: str) -> Verdict:
    fix = "Make `python -c 'import MODULE'` work, and load nothing but code there."
    return replace(_IMPORTS, status="failed", reason=reason, fix=fix)
