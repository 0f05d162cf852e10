"""`poisonbench list`. Imports no method, no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.text import Text

from poisonbench.cli.options import JsonOption, PluginOption
from poisonbench.errors import ConfigError, UnknownNameError, unknown
from poisonbench.terminal.consoles import console, write_json, write_text
from poisonbench.terminal.fitted import Column, Fitted

if TYPE_CHECKING:
    from poisonbench.plugins.registry import Entry


def list_(
    kind: Annotated[
        str | None, typer.Argument(help="attacks, defenses, models, datasets or protocols; everything if left out.")
    ] = None,
    plugin: PluginOption = None,
    layout: Annotated[
        Literal["text", "md"], typer.Option("--format", help="md: attacks or defenses with their papers, as Markdown.")
    ] = "text",
    as_json: JsonOption = False,
) -> None:
    """List what can be run, plugins included."""
    from poisonbench.plugins.registry import GROUPS

    known = [*(f"{one}s" for one in GROUPS), "protocols"]
    if kind is not None and kind not in known:
        raise UnknownNameError(unknown("kind", kind, known))
    if layout == "md":
        from poisonbench.cli.method_sheet import method_sheet

        if kind not in ("attacks", "defenses"):
            raise ConfigError("--format md: list attacks or list defenses.")
        write_text(f"{method_sheet(kind)}\n")
        return
    wanted = [kind] if kind else known
    found = {plural: [_row(entry) for entry in _entries(plural.removesuffix("s"))] for plural in wanted}
    if as_json:
        write_json(found)
        return
    for plural, rows in found.items():
        column = _COLUMNS.get(plural)
        headings = [Column("name"), Column("what it is", prose=True)]
        headings += [*([Column(column.heading)] if column else []), Column("from")]
        console.print(plural, style="italic")
        console.print(Fitted(headings, [_texts(row, column) for row in rows]))
        if column:
            console.print(f"\n{column.footnote}", style="dim")
        console.print()


def _texts(row: Mapping[str, Any], column: _Column | None) -> list[Text]:
    broken = row["broken"] is not None
    summary = Text(f"broken: {row['broken']}" if broken else row["summary"] or "", style="red" if broken else "")
    own = [Text(column.text(row))] if column else []
    return [
        Text(row["name"], style="bold"),
        summary,
        *own,
        Text(f"{row['distribution']} {row['release']}", style="dim"),
    ]


@dataclass(frozen=True)
class _Column:
    """What is listed of a kind besides its summary.

    Attributes:
        heading: of the column.
        key: of the row.
        words: for what it holds.
        footnote: what the words mean.
    """

    heading: str
    key: str
    words: Mapping[str | bool, str]
    footnote: str

    def text(self, row: Mapping[str, Any]) -> str:
        return "/".join(self.words[one] for one in row[self.key]) or "–"


_COLUMNS = {
    "attacks": _Column(
        "knows",
        "knowledge",
        {"training-data-only": "data", "training-only": "model"},
        "data: D_tr alone. model: also D_v, the model, its recipe and the clean weights. Both: its fields decide.",
    ),
    "defenses": _Column(
        "trusted rows",
        "trusted_data",
        {True: "yes", False: "no"},
        "Whether it is shown clean rows; how many is the protocol's. Both: its fields decide.",
    ),
}


def _row(entry: Entry) -> dict[str, Any]:
    """An entry, and what an attack declares to know, or whether a defense declares to use trusted rows: both if its
    fields decide, nothing if its source does not say."""
    from poisonbench.plugins.declared_knowledge import (
        declared_knowledge,
        declared_labels,
        declared_text,
        declared_trust,
    )

    row = asdict(entry)
    if entry.kind == "attack":
        row["knowledge"] = list(declared_knowledge(entry))
        row["clean_label"] = list(declared_labels(entry))
        row |= {name: declared_text(entry, name) for name in ("formulation", "models")}
    elif entry.kind == "defense":
        row["trusted_data"] = list(declared_trust(entry))
    return row


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
