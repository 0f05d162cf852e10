"""`poisonbench sweep`."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from poisonbench.cli.axes import AxisFlags, Settings
from poisonbench.cli.options import Data, Machine, Output, Policy, StoreOption, TrackOption, Workers, group_options
from poisonbench.cli.plan import FileArgument, show_plan
from poisonbench.cli.slurm import Shares, without_slurm
from poisonbench.counted import counted

if TYPE_CHECKING:
    from poisonbench.cli.workplace import Array
    from poisonbench.experiment.cell import Cell
    from poisonbench.experiment.runner import Outcome, Runner
    from poisonbench.sweeps.plan import Planned


@group_options
def sweep(
    axes: AxisFlags,
    settings: Settings,
    policy: Policy,
    workers: Workers,
    shares: Shares,
    machine: Machine,
    data: Data,
    output: Output,
    file: FileArgument = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop, as `plan` does.")] = False,
    track: TrackOption = None,
    store: StoreOption = None,
) -> None:
    """Run a grid of cells: lists over any axis, from a file or from flags.

    Nothing that is done is done again: cells with a record are skipped, and cells share training runs and poison sets.
    After Ctrl-C or a kill the same command goes on from there.
    """
    from poisonbench.process.fork_server import start_early

    shares.refuse_contradictions(workers.ray)
    if not dry_run and workers.ray is None and not shares.slurm:
        start_early(machine.device, machine.threads, workers.jobs)
    from poisonbench.cli.cells import cells_of, choices, tracking_to, work
    from poisonbench.cli.workplace import Array, Workplace
    from poisonbench.sweeps.plan import Overwrite, plan
    from poisonbench.sweeps.shares import Share
    from poisonbench.sweeps.slurm import Options

    (overwrite, retry), cells = choices(policy), cells_of(axes, settings, file)
    if shares.share is not None:
        cells = Share.parse(shares.share).of(cells)
    array = Array(cells, without_slurm(sys.argv[1:]), Options.parse(shares.slurm)) if shares.slurm else None
    tracking = None if dry_run else tracking_to(track)
    workplace = Workplace(store, data, machine, workers, array)
    with workplace.runner(force=overwrite is Overwrite.ALWAYS) as runner:
        planned = plan(runner.store, cells, overwrite, retry)
        due = [part.cell for part in planned if part.due]
        if dry_run:
            show_plan(runner, planned, output.as_json)
            return
        if array is not None and shares.detach:
            _submit(runner, array, due)
            return
        # Of an array's cells the tasks, which are sweeps of the same flags, make the runs.
        outcomes = work(runner, workplace, due, output, tracking=tracking if array is None else None)
        raise typer.Exit(_report(runner, planned, outcomes, output.as_json))


def _submit(runner: Runner, array: Array, due: Sequence[Cell]) -> None:
    """Have Slurm compute cells, unless it does."""
    from poisonbench.terminal.consoles import note

    pool = array.pool(runner)
    if jobs := pool.queued():
        note(f"Slurm has job {', '.join(jobs)} of this sweep already.")
    elif due:
        runner.prepare(due)
        pool.submit(due)


def _report(runner: Runner, planned: Sequence[Planned], outcomes: Sequence[Outcome], as_json: bool) -> int:
    """What the sweep's cells are now; the exit code."""
    from poisonbench.cli.cells import verdict
    from poisonbench.sweeps.plan import FAILURES, MISSING
    from poisonbench.terminal.consoles import console, note, write_json

    store = runner.store
    code = verdict(store, [part.cell for part in planned], outcomes)
    found = store.statuses([part.cell.hash() for part in planned])
    counts = Counter(found.get(part.cell.hash(), MISSING) for part in planned)
    summary = {"cells": len(planned), "run": len(outcomes), **{name: counts[name] for name in sorted(counts)}}
    if as_json:
        records = [outcome.record.document() for outcome in outcomes]
        write_json({**summary, "records": records})
    else:
        parts = ", ".join(f"{counts[name]} {name}" for name in ("ok", *FAILURES, MISSING) if counts[name])
        console.print(f"{counted(len(planned), 'cell')}: {parts}; {counted(len(outcomes), 'was', 'were')} run now.")
        if any(counts[name] for name in FAILURES):
            note("Failed cells are left as they are; --retry failed,timeout,oom runs them again.")
        note(f"Records are in {store.location}. `poisonbench table` shows them.")
    return code
