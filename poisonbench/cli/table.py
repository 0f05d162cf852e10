"""`poisonbench table`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from poisonbench.cli.table_rows import read
from poisonbench.errors import ConfigError, UnknownNameError, unknown
from poisonbench.leaderboard.tables import long_form
from poisonbench.leaderboard.tables.pivot import Table, pivot
from poisonbench.leaderboard.tables.shapes import shape
from poisonbench.leaderboard.tables.sheet_latex import latex
from poisonbench.leaderboard.tables.sheet_markdown import markdown
from poisonbench.leaderboard.tables.sheet_terminal import terminal
from poisonbench.leaderboard.tables.texts import SPREADS, sheet
from poisonbench.process.gc_pause import gc_paused
from poisonbench.terminal.consoles import console, note

FORMATS = ("terminal", "md", "latex", "csv", "html", "json")
PREAMBLE = "% \\usepackage{booktabs,graphicx}\n"


@dataclass(frozen=True)
class Request:
    """What was asked for; None is the preset's, or the default.

    Attributes:
        preset: a name in PRESETS.
        rows: axes down.
        columns: axes across.
        values: of the cells.
        spread: what of it a cell shows.
        best: who competes for the marks.
        filters: names and numbers by axis; of each that is there, a record must have one.
        published: whether the records that ship count too.
        format: of what is printed; None is JSON or the terminal.
        as_json: print JSON.
    """

    preset: str | None = None
    rows: Sequence[str] | None = None
    columns: Sequence[str] | None = None
    values: Sequence[str] | None = None
    spread: str = "std"
    best: str | None = None
    filters: Mapping[str, Sequence[str]] = field(default_factory=dict)
    published: bool = False
    format: str | None = None
    as_json: bool = False


def show(store: str | None, request: Request) -> None:
    """Print a store's tables.

    Raises:
        UsageError: for a name there is none of, and for what is no table; before any record is read, but for filters.
        StoreError: if the store cannot be read.
    """
    format_ = _format(request)
    if request.spread not in SPREADS:
        raise UnknownNameError(unknown("spread", request.spread, list(SPREADS)))
    wanted = shape(request.preset, request.rows, request.columns, request.values, request.best)
    with gc_paused():
        rows, numbers = read(store, request.filters, request.published, wanted.values)
        tables = pivot(rows, numbers, wanted)
    if not rows:
        note("No records yet. Make one with `poisonbench run --attack tgda`, or see those that ship with --published.")
    if format_ == "terminal":
        for table in tables:
            console.print(terminal(sheet(table, request.spread)))
            console.print()
    else:
        sys.stdout.write(_text(tables, format_, request.spread))


def _format(request: Request) -> str:
    if request.format is not None and request.format not in FORMATS:
        raise UnknownNameError(unknown("format", request.format, list(FORMATS)))
    if request.as_json and request.format not in (None, "json"):
        raise ConfigError(f"--json and --format {request.format}: name one of the two.")
    return request.format or ("json" if request.as_json else "terminal")


def _text(tables: Sequence[Table], format_: str, spread: str) -> str:
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
