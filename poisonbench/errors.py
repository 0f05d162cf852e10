"""Everything that can go wrong for a reason a user can act on.

    PoisonbenchError                 exit 1   a cell failed
    ├── UsageError                   exit 2   the command, a name or a value is wrong
    │   ├── UnknownNameError                  no such attack, defense, model, dataset, protocol, record
    │   ├── ConfigError                       a protocol, --config file or --set key; names file and key
    │   ├── BudgetError                       the budget itself is impossible (no point fits)
    │   └── PluginError                       a plugin that cannot be loaded, or two with one name
    ├── DataError                    exit 3   data missing, no source reachable, no space to keep it
    │   └── CorruptFileError                  a file that is not what its checksum or format says
    ├── ValidationError              exit 4   a poison set that breaks its budget, a record that breaks its schema
    │   └── UndeclaredKnowledgeError          an attack that asks for what its threat model does not give it
    ├── StageTimeoutError            exit 5   a stage passed its deadline
    ├── StoreError                   exit 1   the result store cannot be read or written
    ├── ClusterError                 exit 1   the machines that cells ran on are lost; what was finished is kept
    ├── DivergedError                exit 1   a training run left the finite numbers
    ├── MethodError                  exit 1   an attack or a defense raised an exception of its own
    └── OutOfMemoryError             exit 1   memory or GPU memory ran out

The command line prints one line per error and exits with the code shown; a traceback is for bugs (`--debug`).
"""

from __future__ import annotations

import difflib


class PoisonbenchError(Exception):
    """Base of every expected failure; the message is one line that says what to do."""

    exit_code = 1
    status = "failed"
    """What a record of a cell that ends in this error says."""


class UsageError(PoisonbenchError):
    """The command, a name or a value is wrong; nothing was started."""

    exit_code = 2


class UnknownNameError(UsageError):
    """A name that nothing is registered under."""


class ConfigError(UsageError):
    """A key or value of a protocol, a --config file or --set."""


class BudgetError(UsageError):
    """A budget that no attack could keep, such as one of zero points."""


class PluginError(UsageError):
    """A plugin that does not import, is not what its group needs, or takes another's name."""


class DataError(PoisonbenchError):
    """Data is missing, no source could be reached, or there is no space to keep it."""

    exit_code = 3


class CorruptFileError(DataError):
    """A file whose content is not what its checksum or format says."""


class ValidationError(PoisonbenchError):
    """A poison set that breaks its budget, or a record that breaks its schema."""

    exit_code = 4


class UndeclaredKnowledgeError(ValidationError):
    """An attack asked for something that its declared threat model withholds."""


class StageTimeoutError(PoisonbenchError):
    """A stage passed its deadline."""

    exit_code = 5
    status = "timeout"


class StoreError(PoisonbenchError):
    """The result store cannot be read or written."""


class ClusterError(PoisonbenchError):
    """The machines that cells ran on are lost; what was finished is kept, and the same command goes on from there."""


class DivergedError(PoisonbenchError):
    """A training run whose loss is no longer a finite number."""


class MethodError(PoisonbenchError):
    """An attack or a defense raised an exception that is none of ours; its traceback is behind `--debug`."""


class OutOfMemoryError(PoisonbenchError):
    """Memory or GPU memory ran out."""

    status = "oom"


def unknown(kind: str, name: str, known: list[str]) -> str:
    """One line for a name that is not known, with the nearest one that is."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(sorted(known)) or 'none'}."
    return f"Unknown {kind} {name!r}. {hint}"
