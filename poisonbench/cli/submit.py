"""`poisonbench submit`: results with what they can be checked by, in one folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from poisonbench.cli.axes import AxisFlags
from poisonbench.cli.options import Data, StoreOption, group_options
from poisonbench.cli.reading import reading
from poisonbench.cli.validate import report
from poisonbench.counted import counted
from poisonbench.errors import ConfigError, StoreError
from poisonbench.terminal.consoles import note

if TYPE_CHECKING:
    from poisonbench.store.database import Store
    from poisonbench.store.record import Record


@group_options
def submit(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write; a new one.")],
    axes: AxisFlags,
    data: Data,
    records: Annotated[
        list[str] | None, typer.Argument(metavar="[RECORD]", help="Record ids, or the starts of them.")
    ] = None,
    citation: Annotated[Path | None, typer.Option(help="BibTeX file of the paper.")] = None,
    store: StoreOption = None,
) -> None:
    """Bundle records with their poison sets and predictions for others to check.

    They are named by their ids, or chosen by axes: every ranked result that fits, of each cell the latest.
    """
    from poisonbench.submission import bundle

    names, filters = records or [], axes.filters()
    if bool(names) == bool(filters):
        raise ConfigError(
            "Name the records to submit by their ids, or choose them with --attack, --defense and others."
        )
    text = None
    if citation is not None:
        try:
            text = citation.read_bytes()
        except OSError as error:
            raise StoreError(f"--citation {citation}: {error.strerror or error}.") from error
    with reading(store) as opened:
        found = [opened.record(name) for name in names] if names else _fitting(opened, filters)
        chosen = {record.record_id: record for record in found}
        manifest = bundle.write(opened, list(chosen.values()), output, text)
    size = sum(file.bytes for file in manifest.files)
    written = f"{counted(len(chosen), 'record')} and {counted(len(manifest.files), 'file')}"
    note(f"Wrote {written}, {size / 2**20:.1f} MiB, to {output}.")
    raise typer.Exit(report(output, data, as_json=False))


def _fitting(store: Store, filters: Mapping[str, Sequence[object]]) -> list[Record]:
    found, entries = store.records(**filters, status="ok", ranked=True), store.entries()
    lacking = store.lacking(found)
    # What was merged takes the place of nothing that was computed here, and what is not whole of nothing that is.
    found.sort(key=lambda record: (entries[record.record_id].computed, record.record_id not in lacking))
    latest = {record.cell_hash: record for record in found}
    if not latest:
        shown = ", ".join(f"{key} {','.join(map(str, values))}" for key, values in filters.items())
        raise ConfigError(
            f"{store.location} has no ranked result of {shown}. `poisonbench results show` lists what is."
        )
    return list(latest.values())
