"""The cells of flags and files, what they cost, and how they are worked off."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from poisonbench.cli.axes import AxisFlags, Settings, commas
from poisonbench.cli.options import Output, Policy
from poisonbench.cli.workplace import Workplace
from poisonbench.errors import ConfigError, UnknownNameError, unknown
from poisonbench.experiment.cell import Cell, method
from poisonbench.experiment.runner import Outcome, Runner
from poisonbench.experiment.settings import parse_settings, read_settings
from poisonbench.guard.method_errors import one_line_errors
from poisonbench.leaderboard.published import published
from poisonbench.models.base import Model
from poisonbench.plugins.registry import name_of
from poisonbench.store.database import Store
from poisonbench.store.strict_yaml import read_yaml
from poisonbench.sweeps import grid as grids
from poisonbench.sweeps import plan as sweep
from poisonbench.sweeps.estimate import Cost, Estimator, training_time
from poisonbench.terminal.cell_bars import CellBars
from poisonbench.terminal.consoles import note, show_traceback
from poisonbench.terminal.sweep_display import SweepDisplay
from poisonbench.tracking.tracker import Tracking, start

HISTORY = 2000
"""Records that an estimate looks at, the latest ones."""


def cells_of(axes: AxisFlags, settings: Settings, file: Path | None = None) -> list[Cell]:
    """Every cell that was asked for: the one reading of flags and files, for whatever runs or plans cells.

    Args:
        axes: each takes the place of the file's.
        settings: `--set` takes the place of the file's keys; what `--config` says is below both.
        file: a grid in YAML.
    Raises:
        UsageError: for a file, axis, name or value that is wrong, before anything starts.
    """
    origin = "" if file is None else str(file)
    document = {} if file is None else read_yaml(file, origin)
    given = axes.values() | settings.values()
    for axis, other in (("attack", "poison"), ("poison", "attack")):
        if axis in given:
            document.pop(other, None)
    document |= given
    chosen = parse_settings(settings.setting or ())
    own = document.setdefault("set", {})
    if isinstance(own, dict):  # what is none is refused with the rest of the file
        document["set"] = own | chosen
    common = () if settings.config is None else read_settings(settings.config)
    replaced = {*given, *(f"set.{key}" for key in chosen)}
    if "poison" in given:
        replaced |= {"attack", f"set.{grids.POISON_KEY}"}
    return grids.cells(grids.grid(document, origin), origin, common, replaced)


def choices(policy: Policy) -> tuple[sweep.Overwrite, frozenset[str]]:
    """What --overwrite and --retry say.

    Raises:
        UsageError: for a value there is none of.
    """
    policies = [one.value for one in sweep.Overwrite]
    if policy.overwrite not in policies:
        raise UnknownNameError(unknown("value of --overwrite", policy.overwrite, policies))
    retry = () if policy.retry is None else commas(policy.retry, "--retry")
    for name in retry:
        if name not in sweep.FAILURES:
            raise UnknownNameError(unknown("value of --retry", name, list(sweep.FAILURES)))
    if retry and policy.overwrite != sweep.Overwrite.ONLY_MISSING:
        raise ConfigError(f"--retry says nothing beside --overwrite {policy.overwrite}; give one of the two.")
    return sweep.Overwrite(policy.overwrite), frozenset(retry)


def work(
    runner: Runner,
    workplace: Workplace,
    cells: Sequence[Cell],
    output: Output,
    bars: bool = False,
    tracking: Tracking | None = None,
) -> list[Outcome]:
    """Have the workplace's pool work off cells; their outcomes in the cells' order.

    What is seen of it is a live table, or, with `bars` and without workers, a bar for the running loop. Records go to
    `tracking` as they are stored.
    """
    if not cells:
        return []
    runner.prepare(cells)
    outcomes: dict[str, Outcome] = {}
    with workplace.pool(runner, cells) as pool:
        alone = pool.room == 1
        seconds = {} if alone and bars else _seconds(runner, cells)
        # The longest first, so that no worker is left alone with one at the end.
        order = cells if alone else sorted(cells, key=lambda cell: -seconds.get(cell.hash(), math.inf))
        quiet = output.quiet
        with CellBars(len(cells), quiet) if alone and bars else SweepDisplay(len(cells), seconds, quiet) as display:
            for outcome in pool.run(order, display):
                outcomes[outcome.record.cell_hash] = outcome
                if output.debug and outcome.error is not None:
                    show_traceback(outcome.error)
                if tracking is not None:
                    tracking.track(outcome.record)
    return [outcomes[cell.hash()] for cell in cells]


def tracking_to(name: str | None) -> Tracking | None:
    """What `--track` says, made ready.

    Raises:
        UsageError: if there is no such tracker, or it is not installed.
    """
    return None if name is None else start(name, note)


def verdict(store: Store, cells: Sequence[Cell], outcomes: Sequence[Outcome]) -> int:
    """The exit code of cells that were to be done: 0 if all have a good record, what all failures share, else 1. Those
    that failed earlier are told with their reasons; those of now were.

    Args:
        store: where records are.
        cells: all of them.
        outcomes: of those that were run now.
    """
    codes = {outcome.record.cell_hash: outcome.exit_code for outcome in outcomes}
    earlier = store.failures(cell.hash() for cell in cells if cell.hash() not in codes)
    reasons = dict[str, list[str]]()
    for cell in cells:
        if cell.hash() in earlier:
            reasons.setdefault(earlier[cell.hash()][0], []).append(cell.title)
    for reason, titles in reasons.items():
        more = f" and {len(titles) - 1} more" if len(titles) > 1 else ""
        note(f"Error: {titles[0]}{more}, earlier: {reason}")
    codes |= {name: code for name, (_, code) in earlier.items()}
    there = store.statuses(cell.hash() for cell in cells)
    codes |= {cell.hash(): 1 for cell in cells if cell.hash() not in there and cell.hash() not in codes}
    return shared(codes.values())


def shared(codes: Iterable[int]) -> int:
    """The exit code of many: the one that all failures share, else 1."""
    failed = set(codes) - {0}
    return 0 if not failed else failed.pop() if len(failed) == 1 else 1


def _seconds(runner: Runner, cells: Sequence[Cell]) -> dict[str, float]:
    """What cells are expected to take, by hash; of those that anything is known of."""
    expected = zip(map(Cell.hash, cells), costs(runner, cells, calibrated=False), strict=True)
    return {name: cost.seconds for name, cost in expected if cost.seconds is not None}


def costs(runner: Runner, cells: Sequence[Cell], calibrated: bool) -> list[Cost]:
    """What each cell costs, by records of the cells' protocols, the published and the store's latest.

    Args:
        runner: with its store; has prepared the cells' data.
        cells: in the order in which they run.
        calibrated: for models that the store knows nothing of, measure (seconds of work), or make do with what the
            published records say of another machine.
    """

    def calibrate(cell: Cell, model: type[Model]) -> float:
        with one_line_errors(name_of(model)):
            return training_time(cell, model, runner.dataset(cell), runner.device)

    found = Estimator(calibrate if calibrated else None)
    names = {cell.settings.protocol.name for cell in cells}
    if names:
        attacks = {name_of(type(cell.attack)) for cell in cells}
        defenses = {method("defense", cell.defense)["name"] for cell in cells}
        found.learn(published(names, attacks, defenses), elsewhere=True)
        found.learn(runner.store.latest(HISTORY, protocol=names, computed=True))
    return found.costs(cells)
