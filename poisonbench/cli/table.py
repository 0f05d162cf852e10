"""`poisonbench table`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from poisonbench.cli.axes import AxisFlags, commas
from poisonbench.cli.options import JsonOption, PublishedOption, StoreOption, group_options
from poisonbench.errors import ConfigError, UnknownNameError, unknown

if TYPE_CHECKING:
    from poisonbench.leaderboard.tables.pivot import Table

FORMATS = ("terminal", "md", "latex", "csv", "html", "json")
PREAMBLE = "% \\usepackage{booktabs,graphicx}\n"


@group_options
def table(
    axes: AxisFlags,
    rows: Annotated[
        str | None,
        typer.Option(
            help="Axes down, by comma: attack, defense, model, dataset, protocol, epsilon, surrogate, seed. "
            "Default: attack."
        ),
    ] = None,
    cols: Annotated[str | None, typer.Option(help="Axes across, by comma, or none. Default: defense.")] = None,
    value: Annotated[
        str | None,
        typer.Option(
            help="By comma: acc1, acc2, drop, undefended, last-quarter, best-epoch, saved, clean-cost, certified, "
            "trusted, precision, recall, removed, linf, attack-time, defense-time, defense-memory. Default: drop."
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="Axes and values at once, below the flags: table2, table9, table11 as in the paper, attacks, defenses."
        ),
    ] = None,
    spread: Annotated[str, typer.Option(help="Beside the mean: std, interval (95 %) or none.")] = "std",
    best: Annotated[
        str | None,
        typer.Option(help="Who competes for bold and underlined: attack, defense or none. Default: attack if an axis."),
    ] = None,
    published: PublishedOption = False,
    format_: Annotated[
        str | None, typer.Option("--format", help="terminal, md, latex, csv, html or json. Default: terminal.")
    ] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Any axes down and across: mean ± std over seeds of the drop or other values, the best in bold.

    What is no axis makes tables of its own; numbers are averaged over seeds alone.
    """
    from poisonbench.cli.table_rows import read
    from poisonbench.leaderboard.tables.pivot import pivot
    from poisonbench.leaderboard.tables.shapes import shape
    from poisonbench.leaderboard.tables.texts import SPREADS, sheet
    from poisonbench.process.gc_pause import gc_paused
    from poisonbench.terminal.consoles import console, note, write_text
    from poisonbench.terminal.sheet import terminal

    format_ = _format(format_, as_json)
    if spread not in SPREADS:
        raise UnknownNameError(unknown("spread", spread, list(SPREADS)))
    values = None if value is None else commas(value, "--value")
    wanted = shape(preset, _axes(rows, "--rows"), _axes(cols, "--cols"), values, best)
    with gc_paused():
        found, numbers, answers = read(store, axes.filters(), published, wanted.values)
        tables = pivot(found, numbers, wanted, answers)
    if not found:
        note("No records yet. Make one with `poisonbench run --attack tgda`, or see those that ship with --published.")
    if format_ == "terminal":
        for one in tables:
            console.print(terminal(sheet(one, spread), styled=console.color_system is not None))
            console.print()
    else:
        write_text(_text(tables, format_, spread))


def _axes(text: str | None, flag: str) -> Sequence[str] | None:
    """The axes of a list; none is no axis at all."""
    return None if text is None else () if text == "none" else commas(text, flag)


def _format(format_: str | None, as_json: bool) -> str:
    if format_ is not None and format_ not in FORMATS:
        raise UnknownNameError(unknown("format", format_, list(FORMATS)))
    if as_json and format_ not in (None, "json"):
        raise ConfigError(f"--json and --format {format_}: name one of the two.")
    return format_ or ("json" if as_json else "terminal")


def _text(tables: Sequence[Table], format_: str, spread: str) -> str:
    from poisonbench.leaderboard.tables import long_form
    from poisonbench.leaderboard.tables.sheet_latex import latex
    from poisonbench.leaderboard.tables.sheet_markdown import markdown
    from poisonbench.leaderboard.tables.texts import sheet

    if format_ == "csv":
        return long_form.as_csv(tables)
    if format_ == "json":
        return json.dumps(long_form.document(tables), indent=2) + "\n"
    sheets = [sheet(table, spread) for table in tables]
    if format_ == "html":
        from poisonbench.leaderboard.tables.sheet_html import html  # here: Jinja2 takes a tenth of a second to import

        return html("poisonbench", sheets)
    if format_ == "latex":
        return "\n".join([PREAMBLE, *(latex(one, fit=True) for one in sheets)]) if sheets else ""
    return "\n".join(map(markdown, sheets))
