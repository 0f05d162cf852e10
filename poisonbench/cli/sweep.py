"""`poisonbench sweep` and `poisonbench plan`."""

from __future__ import annotations

import json
import math
import sys
import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poisonbench.cli.workplace import Workplace
from poisonbench.errors import ConfigError, UnknownNameError, unknown
from poisonbench.experiment import protocol
from poisonbench.experiment.cell import Cell
from poisonbench.experiment.runner import Outcome, Runner
from poisonbench.leaderboard.published import published
from poisonbench.models.base import Model
from poisonbench.sweeps import grid as grids
from poisonbench.sweeps import plan as sweep
from poisonbench.sweeps.estimate import Cost, Estimator, training_time
from poisonbench.terminal import console, note
from poisonbench.terminal.plan_table import plan_table, plan_totals
from poisonbench.terminal.sweep_display import SweepDisplay

HISTORY = 2000
"""Records that an estimate looks at, the latest ones."""


@dataclass(frozen=True)
class Request:
    """What was asked for.

    Attributes:
        file: YAML grid, or None.
        axes: values by axis from the command line; they take the place of the file's.
        settings: --set texts.
        overwrite: see sweep.Overwrite.
        retry: failures to run again.
        dry_run: show the plan and stop.
        as_json: print JSON.
        debug: show tracebacks.
    """

    file: Path | None
    axes: Mapping[str, Sequence[str]]
    settings: tuple[str, ...]
    overwrite: str
    retry: tuple[str, ...]
    dry_run: bool
    as_json: bool
    debug: bool


def run(request: Request, workplace: Workplace) -> int:
    """Run a sweep, or show its plan; returns the exit code."""
    overwrite, retry = choices(request.overwrite, request.retry)
    cells = cells_of(request)
    with workplace.runner(force=overwrite is sweep.Overwrite.ALWAYS) as runner:
        planned = sweep.plan(runner.store, cells, overwrite, retry)
        if request.dry_run:
            show_plan(runner, planned, request.as_json)
            return 0
        outcomes = work(runner, workplace, [part.cell for part in planned if part.due], request.debug)
        return _report(runner, planned, outcomes, request.as_json)


def cells_of(request: Request) -> list[Cell]:
    """Every cell of the request's grid.

    Raises:
        UsageError: for a file, axis, name or value that is wrong.
    """
    origin = str(request.file) if request.file else ""
    document: dict[str, Any] = protocol.read_yaml(request.file, origin) if request.file else {}
    flags = {axis: [_value(axis, text) for text in texts] for axis, texts in request.axes.items() if texts}
    chosen = [protocol.parse_setting(text) for text in request.settings]
    document |= flags
    if chosen:
        document["set"] = {**(document.get("set") or {}), **{setting.key: setting.value for setting in chosen}}
    if "attack" not in document:
        raise ConfigError("A sweep needs at least one attack: give a FILE with attack: [...], or --attack.")
    return grids.cells(grids.grid(document, origin or "sweep"), origin)


def work(runner: Runner, workplace: Workplace, cells: Sequence[Cell], debug: bool = False) -> list[Outcome]:
    """Have the workplace's pool work off cells, with a live table."""
    if not cells:
        return []
    outcomes = []
    with workplace.pool(runner) as pool:  # first, so that workers start while this process prepares
        runner.prepare(cells)
        expected = zip(map(Cell.hash, cells), costs(runner, cells, calibrated=False), strict=True)
        seconds = {name: cost.seconds for name, cost in expected if cost.seconds is not None}
        if workplace.parallel:  # the longest first, so that no worker is left alone with one at the end
            cells = sorted(cells, key=lambda cell: -seconds.get(cell.hash(), math.inf))
        with SweepDisplay(len(cells), seconds) as display:
            for outcome in pool.run(cells, display):
                outcomes.append(outcome)
                if debug and outcome.error is not None:
                    traceback.print_exception(outcome.error)
    return outcomes


def costs(runner: Runner, cells: Sequence[Cell], calibrated: bool) -> list[Cost]:
    """What each cell costs, by records of the cells' protocols, the published and the store's latest.

    Args:
        runner: with its store; has prepared the cells' data.
        cells: in the order in which they run.
        calibrated: for models that the store knows nothing of, measure (seconds of work), or make do with what the
            published records say of another machine.
    """

    def calibrate(cell: Cell, model: type[Model]) -> float:
        return training_time(cell, model, runner.dataset(cell), runner.device)

    found = Estimator(calibrate if calibrated else None)
    names = {cell.settings.protocol.name for cell in cells}
    if names:
        found.learn(published(names), elsewhere=True)
        found.learn(runner.store.latest(HISTORY, protocol=names))
    return found.costs(cells)


def show_plan(runner: Runner, planned: list[sweep.Planned], as_json: bool) -> None:
    """Print what would be done, and what it costs."""
    due = [part.cell for part in planned if part.due]
    runner.prepare(due)
    expected = dict(zip(map(Cell.hash, due), costs(runner, due, calibrated=True), strict=True))
    if as_json:
        rows = [
            {
                "cell": part.cell.title,
                "cell_hash": part.cell.hash(),
                "found": part.found,
                "due": part.due,
                "seconds": expected[part.cell.hash()].seconds if part.due else None,
                "memory_mb": expected[part.cell.hash()].memory_mb if part.due else None,
            }
            for part in planned
        ]
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
        return
    console.print(plan_table(planned, expected))
    console.print(plan_totals(planned, expected), highlight=False)


def _report(runner: Runner, planned: list[sweep.Planned], outcomes: list[Outcome], as_json: bool) -> int:
    """What the sweep's cells are now; 1 if one of them has no good record."""
    store = runner.store
    found = store.statuses([part.cell.hash() for part in planned])
    counts = Counter(found.get(part.cell.hash(), sweep.MISSING) for part in planned)
    summary = {"cells": len(planned), "run": len(outcomes), **{name: counts[name] for name in sorted(counts)}}
    if as_json:
        records = [outcome.record.document() for outcome in outcomes]
        sys.stdout.write(json.dumps({**summary, "records": records}, indent=2) + "\n")
    else:
        parts = ", ".join(f"{counts[name]} {name}" for name in ("ok", *sweep.FAILURES, sweep.MISSING) if counts[name])
        console.print(f"{len(planned)} cells: {parts}; {len(outcomes)} were run now.", highlight=False)
        if any(counts[name] for name in sweep.FAILURES):
            note("Failed cells are left as they are; --retry failed,timeout,oom runs them again.")
        note(f"Records are in {store.location}. `poisonbench table` shows them.")
    return 0 if counts["ok"] == len(planned) else 1


def choices(overwrite: str, retry: Sequence[str]) -> tuple[sweep.Overwrite, frozenset[str]]:
    """What --overwrite and --retry say.

    Raises:
        UnknownNameError: for a value there is none of.
    """
    policies = [policy.value for policy in sweep.Overwrite]
    if overwrite not in policies:
        raise UnknownNameError(unknown("value of --overwrite", overwrite, policies))
    for name in retry:
        if name not in sweep.FAILURES:
            raise UnknownNameError(unknown("value of --retry", name, list(sweep.FAILURES)))
    return sweep.Overwrite(overwrite), frozenset(retry)


def _value(axis: str, text: str) -> object:
    """A flag's value, of the axis' type."""
    if text == "null" and axis not in ("attack", "defense"):
        return None
    try:
        return {"epsilon": float, "seeds": int}.get(axis, str)(text)
    except ValueError:
        raise ConfigError(f"--{axis}: expected a number, got {text!r}.") from None
