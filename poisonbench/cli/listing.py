"""`poisonbench list`. Imports no method, no torch."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

from rich.markup import escape
from rich.table import Table

from poisonbench.errors import UnknownNameError, unknown
from poisonbench.plugins.registry import GROUPS, Entry, entries
from poisonbench.terminal.consoles import console

_PLURALS = {f"{kind}s": kind for kind in GROUPS}


def show(kind: str | None, as_json: bool) -> None:
    """Print one kind, or all of them.

    Raises:
        UnknownNameError: for a kind there is none of.
    """
    known = [*_PLURALS, "protocols"]
    if kind is not None and kind not in known:
        raise UnknownNameError(unknown("kind", kind, known))
    wanted = [kind] if kind else known
    found = {plural: _rows(plural) for plural in wanted}
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


def _rows(plural: str) -> list[dict[str, str | None]]:
    if plural == "protocols":
        return [asdict(entry) for entry in _protocols()]
    return [asdict(entry) for entry in entries(_PLURALS[plural]).values()]


def _protocols() -> list[Entry]:
    from poisonbench import __version__
    from poisonbench.experiment import protocol

    loaded = [protocol.load(name) for name in protocol.names()]
    return [
        Entry("protocol", item.name, f"protocols/{item.name}.yaml", "poisonbench", __version__, item.summary)
        for item in loaded
    ]
