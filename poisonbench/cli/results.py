"""`poisonbench results show | export | merge`. Reads records without torch."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from rich.table import Table

from poisonbench.store.artifacts import KINDS
from poisonbench.store.database import Store
from poisonbench.store.exchange import export as export_records
from poisonbench.store.exchange import merge as merge_records
from poisonbench.store.exchange import merge_into
from poisonbench.terminal.consoles import console, note


def show(store: str | None, record_id: str | None, filters: dict[str, Any], limit: int, as_json: bool) -> None:
    """Print the store's latest records as a table, one record in full, or all of them as JSON; `limit` 0 is all."""
    with Store.open(store) as opened:
        if record_id is not None:
            console.print_json(json.dumps(opened.record(record_id).document()), indent=2)
            return
        if as_json:
            documents = [record.document() for record in opened.records(**filters)]
            sys.stdout.write(json.dumps(documents, indent=2) + "\n")
            return
        rows = opened.rows(**filters)
    latest = rows[-limit:] if limit else rows
    table = Table(box=None, pad_edge=False)
    for heading in ("record", "protocol", "model", "attack", "defense"):
        table.add_column(heading)
    for heading in ("ε", "seed", "acc1 %", "acc2 %", "drop", "total s"):
        table.add_column(heading, justify="right")
    table.add_column("status")
    for row in latest:
        numbers = [f"{value:.2f}" if value is not None else "–" for value in (row.acc1, row.acc2, row.drop)]
        status = row.status + ("" if row.ranked else ", unranked")
        table.add_row(
            row.record_id[:8],
            row.protocol,
            row.model,
            row.attack,
            row.defense,
            f"{row.epsilon:g}",
            str(row.seed),
            *numbers,
            f"{row.total_s:.1f}",
            status,
        )
    console.print(table if rows else "No records yet. Make one with `poisonbench run --attack tgda`.", markup=False)
    if len(latest) < len(rows):
        note(f"The latest {len(latest)} of {len(rows)} records; --limit 0 shows all, --attack and others choose.")


def export(store: str | None, output: Path, record_ids: list[str], artifacts: bool) -> None:
    """Write records to a folder, one JSON file each."""
    with Store.open(store) as opened:
        records = [opened.record(name) for name in record_ids] if record_ids else opened.records()
        paths = export_records(opened, output, records, KINDS if artifacts else ())
    note(f"Wrote {len(paths)} files to {output}.")


def merge(store: str | None, paths: list[Path], into: Path | None) -> int:
    """Read exported records into a store, or into a folder of JSON files; returns 4 if any file was refused."""
    if into is not None:
        report = merge_into(into, paths)
    else:
        with Store.open(store) as opened:
            report = merge_records(opened, paths)
    for path, reason in report.refused:
        note(f"Refused {path}: {reason}")
    note(f"{len(report.added)} added, {len(report.already_there)} already there, {len(report.refused)} refused.")
    return 4 if report.refused else 0
