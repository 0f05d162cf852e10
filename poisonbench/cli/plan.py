"""`poisonbench plan`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from poisonbench.cli.axes import AxisFlags, Settings
from poisonbench.cli.options import Data, Machine, Output, Policy, StoreOption, group_options

if TYPE_CHECKING:
    from poisonbench.experiment.runner import Runner
    from poisonbench.sweeps.plan import Planned

FileArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="[FILE]", help="YAML grid: one value or a list for every axis; a flag takes an axis' place."
    ),
]


@group_options
def plan(
    axes: AxisFlags,
    settings: Settings,
    policy: Policy,
    machine: Machine,
    data: Data,
    output: Output,
    file: FileArgument = None,
    store: StoreOption = None,
) -> None:
    """Show what a sweep would do: its cells, what the store has of them, and about how long the rest takes."""
    from poisonbench.cli.cells import cells_of, choices
    from poisonbench.cli.workplace import Workplace
    from poisonbench.sweeps.plan import plan as planned

    (overwrite, retry), cells = choices(policy), cells_of(axes, settings, file)
    with Workplace(store, data, machine).runner() as runner:
        show_plan(runner, planned(runner.store, cells, overwrite, retry), output.as_json)


def show_plan(runner: Runner, planned: Sequence[Planned], as_json: bool) -> None:
    """Print what would be done, and what it costs."""
    from poisonbench.cli.cells import costs
    from poisonbench.terminal.consoles import console, write_json
    from poisonbench.terminal.plan_table import plan_table, plan_totals

    due = [part.cell for part in planned if part.due]
    runner.prepare(due)
    expected = dict(zip((cell.hash() for cell in due), costs(runner, due, calibrated=True), strict=True))
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
        write_json(rows)
        return
    console.print(plan_table(planned, expected))
    console.print(plan_totals(planned, expected))
