"""`--track`: each finished cell as a run of a tracker, which never stands in a cell's way."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib import import_module

from poisonbench.errors import ConfigError, UnknownNameError, unknown
from poisonbench.guard.method_errors import first_line
from poisonbench.guard.stdout import stdout_as_stderr
from poisonbench.store.record import Record
from poisonbench.tracking.tracked import Tracked, tracked

TRACKERS = {
    "mlflow": ("MLflow", "poisonbench.tracking.mlflow_tracker"),
    "wandb": ("Weights & Biases", "poisonbench.tracking.wandb_tracker"),
}
"""By the name of its library and of the extra that brings it: what it is called, and the module with its `connect`."""

PATIENCE = 3
"""Failures in a row after which a tracker is left alone: each may have waited for a server."""


class Tracker(ABC):
    """Somebody's tracker, by its own library."""

    @abstractmethod
    def log(self, run: Tracked) -> None:
        """Make one run of it, unless the tracker has one of that record.

        Raises:
            Exception: whatever its library does.
        """


class Tracking:
    """Records to a tracker, one after the other, between cells: no cell's time has any of it.

    Args:
        name: of TRACKERS, for messages.
        tracker: that runs are made in.
        warn: is told, in one line, what could not be tracked.
    """

    def __init__(self, name: str, tracker: Tracker, warn: Callable[[str], None]) -> None:
        self._name, self._tracker, self._warn = name, tracker, warn
        self._failures = 0

    def track(self, record: Record) -> None:
        """Make a run of a record. A tracker that fails is a warning; one that fails PATIENCE times is let go."""
        if self._failures == PATIENCE:
            return
        try:
            with stdout_as_stderr(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._tracker.log(tracked(record))
        except Exception as error:
            self._failures += 1
            last = " Nothing more is tracked; the records are in the store." if self._failures == PATIENCE else ""
            reason = first_line(error).rstrip(".")
            self._warn(f"warning: --track {self._name}: record {record.record_id} is not tracked: {reason}.{last}")
        else:
            self._failures = 0


def start(name: str, warn: Callable[[str], None]) -> Tracking:
    """Make a tracker ready, before any work.

    Args:
        name: mlflow or wandb.
        warn: see Tracking.
    Raises:
        UnknownNameError: for another name.
        ConfigError: if its library is not installed or does not import, or it needs a login and has none.
    """
    if name not in TRACKERS:
        raise UnknownNameError(unknown("tracker", name, list(TRACKERS)))
    called, module = TRACKERS[name]
    try:
        with stdout_as_stderr(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tracker: Tracker = import_module(module).connect()
    except ImportError as error:
        if error.name == name:
            raise ConfigError(
                f"--track {name} needs {called}. Install it with: pip install 'poisonbench[{name}]'"
            ) from error
        raise ConfigError(f"--track {name}: its library does not import: {first_line(error)}.") from error
    return Tracking(name, tracker, warn)
