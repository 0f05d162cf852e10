"""`poisonbench run`."""

from __future__ import annotations

from typing import Annotated

import typer

from poisonbench.cli.axes import AxisFlags, Settings
from poisonbench.cli.options import Data, Machine, Output, StoreOption, TrackOption, Workers, group_options


@group_options
def run(
    axes: AxisFlags,
    settings: Settings,
    machine: Machine,
    data: Data,
    output: Output,
    force: Annotated[bool, typer.Option("--force", help="Make a new record even if the store has this cell.")] = False,
    track: TrackOption = None,
    store: StoreOption = None,
) -> None:
    """Run an attack against a defense and record acc1 − acc2 and the runtime.

    Lists make a grid. Everything already in the store is taken from there; an interrupted run goes on where it stopped.
    Cells that failed are run again, which `sweep` leaves.
    """
    from poisonbench.process.fork_server import start_early

    start_early(machine.device, machine.threads, None)
    from poisonbench.cli.cells import cells_of, shared, tracking_to, work
    from poisonbench.cli.workplace import Workplace
    from poisonbench.leaderboard.experiments import experiments
    from poisonbench.terminal.consoles import console, note, write_json
    from poisonbench.terminal.grid_table import grid_table
    from poisonbench.terminal.panel import results_panel

    cells, tracking = cells_of(axes, settings), tracking_to(track)
    workplace = Workplace(store, data, machine, Workers())
    with workplace.runner(force) as runner:
        outcomes = work(runner, workplace, cells, output, bars=True, tracking=tracking)
    if output.as_json:
        write_json([outcome.record.document() for outcome in outcomes])
    else:
        records = [outcome.record for outcome in outcomes]
        console.print(grid_table(records) if len(experiments(records)) > 1 else results_panel(outcomes))
        note(f"Records are in {runner.store.location}.")
    raise typer.Exit(shared(outcome.exit_code for outcome in outcomes))
