"""Runs in Weights & Biases, in the project $WANDB_PROJECT or `poisonbench`; $WANDB_MODE=offline keeps them here."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import wandb

from poisonbench.errors import ConfigError
from poisonbench.guard.method_errors import first_line
from poisonbench.terminal.consoles import note
from poisonbench.tracking.tracked import RECORD_ID, Tracked
from poisonbench.tracking.tracker import Tracker

_PATIENCE_S = 30.0
"""That a server is waited for."""


class WandbTracker(Tracker):
    """See the module; a run has its record's id, so that it is one however often it is told."""

    def log(self, run: Tracked) -> None:
        """See Tracker."""
        settings = wandb.Settings(silent=True, console="off", x_disable_stats=True, init_timeout=_PATIENCE_S)
        with _nobody_asked():
            made = wandb.init(
                project=os.environ.get("WANDB_PROJECT") or "poisonbench",
                id=run.record_id,
                resume="allow",
                name=run.name,
                config={**run.params, **run.tags, RECORD_ID: run.record_id},
                settings=settings,
            )
        try:
            for index, epoch in enumerate(run.epochs):
                made.log({name: values[index] for name, values in run.curves.items()}, step=epoch)
            made.summary.update(dict(run.metrics))
        except BaseException:
            made.finish(exit_code=1)
            raise
        made.finish(exit_code=0 if run.good else 1)


def connect() -> WandbTracker:
    """See tracker.TRACKERS.

    Raises:
        ConfigError: if it is online and nobody has logged in.
    """
    with _nobody_asked():
        if wandb.setup().settings.mode == "online":
            try:
                wandb.login()
            except wandb.errors.UsageError as error:
                raise ConfigError(
                    "--track wandb needs a login: run `wandb login`, or set WANDB_MODE=offline to keep runs here."
                ) from error
            except Exception as error:  # a server that is away now may be there when the first cell is finished
                note(f"warning: --track wandb: {first_line(error)}")
    return WandbTracker()


@contextmanager
def _nobody_asked() -> Iterator[None]:
    """No terminal that it could ask for a key at: a sweep does not wait for an answer."""
    kept, sys.stdin = sys.stdin, io.StringIO()
    try:
        yield
    finally:
        sys.stdin = kept
