"""`poisonbench reproduce`: the paper's tables and figures, ours beside what it prints, and studies of our own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from poisonbench.cli.options import Data, Machine, Output, Policy, StoreOption, Workers, group_options
from poisonbench.cli.plan import show_plan
from poisonbench.counted import counted
from poisonbench.errors import UnknownNameError, unknown

ALL = "all"


@group_options
def reproduce(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME", help="table2 to table13, figure1, 3, 4, 5, or all of these; filters.")
    ],
    policy: Policy,
    workers: Workers,
    machine: Machine,
    data: Data,
    output: Output,
    profile: Annotated[
        str, typer.Option(help="smoke: digits, minutes. cpu: what two cores can do. paper: in full.")
    ] = "smoke",
    format_: Annotated[str, typer.Option("--format", help="terminal, md, latex or csv.")] = "terminal",
    folder: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for Markdown, LaTeX, CSV, and figures as SVG and PNG.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")] = False,
    store: StoreOption = None,
) -> None:
    """Regenerate tables and figures of the paper, with its printed numbers beside ours, or a study of our own.

    `filters` is one: drop, clean cost, precision and recall of filters against the part of the rows that they remove.
    Cells that the store has are taken from there; the others are run first.
    """
    from poisonbench.cli.cells import choices, verdict, work
    from poisonbench.cli.output_folder import make_sure_of
    from poisonbench.cli.study_results import FORMATS, results, show, write_files
    from poisonbench.cli.workplace import Workplace
    from poisonbench.sweeps import study as studies
    from poisonbench.sweeps.plan import Overwrite, plan
    from poisonbench.terminal import note

    if format_ not in FORMATS:
        raise UnknownNameError(unknown("format", format_, list(FORMATS)))
    overwrite, retry = choices(policy)
    chosen = [studies.load(name) for name in (studies.names() if ALL in names else names)]
    placed = {study.name: studies.places(study, profile) for study in chosen}
    cells = {cell.hash(): cell for places in placed.values() for place in places for cell in place.cells}
    workplace = Workplace(store, data, machine, workers)
    with workplace.runner(force=overwrite is Overwrite.ALWAYS) as runner:
        planned = plan(runner.store, list(cells.values()), overwrite, retry)
        if dry_run:
            show_plan(runner, planned, output.as_json)
            return
        if folder is not None:
            make_sure_of(folder)
        due = [part.cell for part in planned if part.due]
        outcomes = work(runner, workplace, due, output)
        code = verdict(runner.store, list(cells.values()), outcomes)
        records = {name: record for name in cells if (record := runner.store.for_cell(name)) is not None}
        found = [results(study, profile, placed[study.name], records) for study in chosen]
        if folder is not None:
            for study, result in zip(chosen, found, strict=True):
                write_files(study, result, folder, runner)
    show(found, format_, output.as_json)
    if due:
        note(f"Ran {len(due)} of {counted(len(cells), 'cell')}; the others were in {runner.store.location}.")
    raise typer.Exit(code)
