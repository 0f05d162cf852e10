"""`poisonbench list`. Imports no method, no torch."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from poisonbench.cli.options import JsonOption, PluginOption
from poisonbench.errors import UnknownNameError, unknown
from poisonbench.terminal.consoles import console

if TYPE_CHECKING:
    from poisonbench.plugins.registry import Entry


def list_(
    kind: Annotated[
        str | None, typer.Argument(help="attacks, defenses, models, datasets or protocols; everything if left out.")
    ] = None,
    plugin: PluginOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what can be run, plugins included."""
    from poisonbench.plugins.registry import GROUPS

    known = [*(f"{one}s" for one in GROUPS), "protocols"]
    if kind is not None and kind not in known:
        raise UnknownNameError(unknown("kind", kind, known))
    wanted = [kind] if kind else known
    found = {plural: [asdict(entry) for entry in _entries(plural.removesuffix("s"))] for plural in wanted}
    if as_json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return
    for plural, rows in found.items():
        table = Table("name", "what it is", "from", title=plural, title_justify="left", box=None, pad_edge=False)
        for row in rows:
            summary = f"[red]broken: {escape(row['broken'])}" if row["broken"] else escape(row["summary"] or "")
            table.add_row(f"[bold]{row['name']}", summary, f"[dim]{row['distribution']} {row['release']}")
        console.print(table)
        console.print()


def _entries(kind: str) -> list[Entry]:
    from poisonbench import __version__
    from poisonbench.experiment import protocol
    from poisonbench.plugins import registry

    if kind != "protocol":
        return list(registry.entries(kind).values())
    return [
        registry.Entry(kind, item.name, f"protocols/{item.name}.yaml", "poisonbench", __version__, item.summary)
        for item in map(protocol.load, protocol.names())
    ]
