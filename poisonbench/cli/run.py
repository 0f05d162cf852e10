"""`poisonbench run`."""

from __future__ import annotations

import itertools
import json
import sys
import traceback
from dataclasses import dataclass, replace
from pathlib import Path

from poisonbench.cli.workplace import Workplace
from poisonbench.errors import ConfigError
from poisonbench.experiment import protocol
from poisonbench.experiment.cell import Cell
from poisonbench.experiment.runner import Outcome
from poisonbench.sweeps.grid import Grid, cells
from poisonbench.terminal import Bars, console, note
from poisonbench.terminal.panel import results_panel


@dataclass(frozen=True)
class Request:
    """What was asked for, as typed; empty means the protocol's own."""

    attacks: tuple[str, ...]
    defenses: tuple[str, ...]
    dataset: str | None
    protocol: str | None
    models: tuple[str, ...]
    surrogate: str | None
    preset: str | None
    epsilons: tuple[str, ...]
    seeds: tuple[str, ...]
    config: Path | None
    settings: tuple[str, ...]
    force: bool
    as_json: bool
    debug: bool


def run(request: Request, workplace: Workplace) -> int:
    """Run every cell of a request; returns the exit code."""
    wanted = cells_of(request)
    with workplace.runner(request.force) as runner, Bars() as bars:
        runner.prepare(wanted)
        outcomes = []
        for index, cell in enumerate(wanted):
            bars.label = f"seed {cell.seed}" if len(wanted) == 1 else f"seed {cell.seed} ({index + 1}/{len(wanted)})"
            outcomes.append(replace(runner, progress=bars).run(cell))
            _complain(outcomes[-1], request.debug)
    if request.as_json:
        sys.stdout.write(json.dumps([outcome.record.document() for outcome in outcomes], indent=2) + "\n")
    else:
        for _, group in itertools.groupby(outcomes, key=_experiment):
            console.print(results_panel(list(group)))
        note(f"Records are in {runner.store.location}.")
    return exit_code(outcomes)


def cells_of(request: Request) -> list[Cell]:
    """Every cell asked for: models × attacks × defenses × ε, the seeds innermost.

    Raises:
        UsageError: for any name or value that is wrong, before anything starts.
    """
    settings = tuple(protocol.read_settings(request.config)) if request.config else ()
    settings += tuple(protocol.parse_setting(text) for text in request.settings)
    axes = Grid(
        protocol=(request.protocol,),
        dataset=(request.dataset,),
        model=request.models or (None,),
        attack=request.attacks,
        surrogate=(request.surrogate,),
        preset=(request.preset,),
        defense=request.defenses,
        epsilon=tuple(_number(text, "--epsilon") for text in request.epsilons) or (None,),
        seeds=tuple(_seed(text) for text in request.seeds) or (None,),
    )
    return cells(axes, "", settings)


def exit_code(outcomes: list[Outcome]) -> int:
    """0 if all went well, the error's own code if every failure shares it, else 1."""
    codes = {outcome.error.exit_code for outcome in outcomes if outcome.error}
    return 0 if not codes else codes.pop() if len(codes) == 1 else 1


def _experiment(outcome: Outcome) -> tuple[object, ...]:
    record = outcome.record
    return record.model.name, record.attack.name, record.defense.name, record.threat.epsilon


def _complain(outcome: Outcome, debug: bool) -> None:
    if outcome.error is None:
        return
    if debug:
        traceback.print_exception(outcome.error)
    note(f"Error: seed {outcome.record.seeds.run}: {outcome.error}")


def _number(text: str, where: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"{where}: expected a number, got {text!r}.") from None


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise ConfigError(f"--seeds: expected integers ≥ 0 by comma, got {text!r}.")
    return int(text)
