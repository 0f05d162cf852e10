"""`poisonbench results show | export | merge | fetch | deposit`. Reads records without torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from poisonbench.cli.axes import AxisFlags
from poisonbench.cli.deposit import deposit
from poisonbench.cli.fetch import fetch
from poisonbench.cli.options import JsonOption, PublishedOption, StoreOption, group_options
from poisonbench.cli.reading import reading
from poisonbench.cli.strict_app import StrictApp
from poisonbench.counted import counted
from poisonbench.errors import ConfigError, UnknownNameError, ValidationError, unknown
from poisonbench.terminal.consoles import console, note, show_json, write_json
from poisonbench.terminal.fitted import Column, Fitted

if TYPE_CHECKING:
    from poisonbench.store.tables import Row

_STATUSES = ("ok", "failed", "timeout", "oom")

results_app = StrictApp(help="Look at the records of a store, and move them.", no_args_is_help=True)


@results_app.command()
@group_options
def show(
    axes: AxisFlags,
    record_id: Annotated[str | None, typer.Argument(help="One record, by its id or the start of it.")] = None,
    status: Annotated[str | None, typer.Option(help="ok, failed, timeout or oom.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="How many rows, the latest ones; 0 for all.")] = 100,
    published: PublishedOption = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the records of a store, or one of them in full."""
    from poisonbench.leaderboard.gathered import gathered, named, shipped_records
    from poisonbench.store.tables import row_of

    if status is not None and status not in _STATUSES:
        raise UnknownNameError(unknown("status", status, list(_STATUSES)))
    filters: dict[str, object] = {**axes.filters(), **({} if status is None else {"status": status})}
    with reading(store) as opened:
        if record_id is not None:
            show_json(named(opened, record_id, published).document())
            return
        if as_json:
            write_json([record.document() for record in gathered(opened, filters, published)])
            return
        rows = opened.rows(**filters)
    if published:
        there = {row.record_id for row in rows}
        rows = [*(row_of(one) for one in shipped_records(filters) if one.record_id not in there), *rows]
    latest = rows[-limit:] if limit else rows
    table = Fitted(_COLUMNS, [list(map(Text, _texts(row))) for row in latest])
    console.print(table if rows else "No records yet. Make one with `poisonbench run --attack tgda`.")
    if len(latest) < len(rows):
        shown = f"{len(latest)} of {counted(len(rows), 'record')}"
        note(f"The latest {shown}; --limit 0 shows all, --attack and others choose.")


_COLUMNS = (
    *map(Column, ("record", "protocol", "model", "attack", "defense")),
    *(Column(heading, "right") for heading in ("ε", "seed", "acc1 %", "acc2 %", "drop", "total s")),
    Column("status"),
)


def _texts(row: Row) -> list[str]:
    numbers = [f"{value:.2f}" if value is not None else "–" for value in (row.acc1, row.acc2, row.drop)]
    names = [row.record_id[:8], row.protocol, row.model, row.attack, row.defense]
    status = row.status + ("" if row.ranked else ", unranked") + ("" if row.verified_by is None else ", verified")
    return [*names, f"{row.epsilon:g}", str(row.seed), *numbers, f"{row.total_s:.1f}", status]


@results_app.command()
def export(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write to; one JSON file a record.")],
    records: Annotated[list[str] | None, typer.Argument(help="Record ids. Default: all.")] = None,
    artifacts: Annotated[
        bool, typer.Option("--artifacts/--no-artifacts", help="Also poison sets and predictions.")
    ] = False,
    published: PublishedOption = False,
    store: StoreOption = None,
) -> None:
    """Write records as plain JSON, one file each."""
    from poisonbench.cli.output_folder import make_sure_of
    from poisonbench.leaderboard.gathered import gathered, named
    from poisonbench.store import exchange
    from poisonbench.store.artifacts import KINDS

    with reading(store) as opened:
        make_sure_of(output)
        chosen = [named(opened, name, published) for name in records] if records else gathered(opened, {}, published)
        report = exchange.export(opened, output, chosen, KINDS if artifacts else ())
        for name, reason in report.refused:
            note(f"Left out record {name}: {reason}")
        note(f"Wrote {counted(len(report.written), 'file')} to {output}.")
    if report.refused:
        raise typer.Exit(ValidationError.exit_code)


@results_app.command()
def merge(
    paths: Annotated[
        list[str],
        typer.Argument(
            help="Folders or files that `results export` or `verify` wrote, or `--json` printed, or other stores."
        ),
    ],
    into: Annotated[
        Path | None,
        typer.Option(help="Published records, such as leaderboard/results, instead of a store."),
    ] = None,
    store: StoreOption = None,
) -> None:
    """Read records into a store. One that was changed is refused; the others go in."""
    from poisonbench.store import exchange
    from poisonbench.store.database import Store
    from poisonbench.store.location import default_home
    from poisonbench.store.locks import locked
    from poisonbench.submission.entry import check

    if "" in paths:  # such as of a variable that is not set
        raise ConfigError("results merge '': expected a folder or a file.")
    sources = list(map(Path, paths))
    if into is not None:
        with locked(default_home() / "locks", f"published {into.resolve()}"):
            report = exchange.merge_into(into, sources, check)
    else:
        with Store.open(store) as opened:
            report = exchange.merge(opened, sources, check)
    for path, reason in report.refused:
        note(f"Refused {path}: {reason}")
    if not (report.added or report.already_there or report.refused):
        raise ConfigError(f"There is no record in {', '.join(paths)}. `results export --output FOLDER` writes some.")
    note(f"{len(report.added)} added, {len(report.already_there)} already there, {len(report.refused)} refused.")
    raise typer.Exit(ValidationError.exit_code if report.refused else 0)


results_app.command()(fetch)
results_app.command()(deposit)
