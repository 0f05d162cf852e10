"""`poisonbench submit | validate | verify`: results with what they can be checked by, in one folder."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from poisonbench.cli.workplace import Workplace
from poisonbench.data.base import prepare
from poisonbench.errors import (
    BudgetError,
    ConfigError,
    CorruptFileError,
    PluginError,
    StoreError,
    UnknownNameError,
    ValidationError,
)
from poisonbench.problem.samples import Dataset
from poisonbench.stages.cache import StageCache
from poisonbench.stages.stage import Deadline
from poisonbench.store.database import Store
from poisonbench.store.exchange import write_records
from poisonbench.store.location import locate
from poisonbench.store.record import Record
from poisonbench.submission import bundle
from poisonbench.submission.evidence import Finding, Validator, rules
from poisonbench.submission.reexecution import Reexecution, reexecute
from poisonbench.terminal import Bars, console, note
from poisonbench.terminal.consoles import printable

INVALID = 4
"""Exit code: something is not what it says."""

_ABOUT_THE_RECORD = (ValidationError, CorruptFileError, BudgetError, UnknownNameError, PluginError)


def submit(
    workplace: Workplace,
    names: list[str],
    filters: Mapping[str, Any],
    output: Path,
    citation: Path | None,
    tolerance: float,
) -> int:
    """Write a bundle of records, then validate it as its reader will.

    Args:
        workplace: with the store.
        names: record ids; of none, every ranked result that fits the filters is taken, of each cell the latest.
        filters: columns of records, such as attack, with the value they must have.
        output: folder to write.
        citation: BibTeX file, or None.
        tolerance: see bundle.Manifest.
    Raises:
        ConfigError: for neither names nor filters, or both, or if nothing fits.
        UnknownNameError: for a record there is none of.
        ValidationError, StoreError: see bundle.write.
    """
    if bool(names) == bool(filters):
        raise ConfigError("Name the records to submit by their ids, or choose them with --attack and --defense.")
    text = None
    if citation is not None:
        try:
            text = citation.read_bytes()
        except OSError as error:
            raise StoreError(f"--citation {citation}: {error.strerror or error}.") from error
    with Store.open(workplace.store) as store:
        chosen = [store.record(name) for name in names] if names else _fitting(store, filters)
        records = {record.record_id: record for record in chosen}
        manifest = bundle.write(store, list(records.values()), output, text, tolerance)
    size = sum(file.bytes for file in manifest.files)
    note(f"Wrote {len(records)} records and {len(manifest.files)} files, {size / 2**20:.1f} MiB, to {output}.")
    return validate(workplace, output, as_json=False)


def _fitting(store: Store, filters: Mapping[str, Any]) -> list[Record]:
    latest = {record.cell_hash: record for record in store.records(**filters, status="ok", ranked=True)}
    if not latest:
        shown = ", ".join(f"{key} {value}" for key, value in filters.items())
        raise ConfigError(
            f"{store.location} has no ranked result of {shown}. `poisonbench results show` lists what is."
        )
    return list(latest.values())


def validate(workplace: Workplace, folder: Path, as_json: bool) -> int:
    """Check a bundle's files and what they prove; runs nobody's code. Prints every problem; 4 if there is one.

    Raises:
        DataError: if a dataset is not here.
    """
    try:
        opened = bundle.read(folder)
    except (CorruptFileError, ValidationError) as error:
        found, records = [Finding("", str(error))], 0
    else:
        found, records = list(Validator(opened, _Datasets(workplace)).findings()), len(opened.records)
    if as_json:
        problems = [{"record": one.record_id or None, "problem": one.problem} for one in found]
        sys.stdout.write(json.dumps({"records": records, "valid": not found, "problems": problems}, indent=2) + "\n")
    elif found:
        for one in found:
            console.print(Text(printable(f"✗ {one.record_id or folder}: {one.problem}")))
    else:
        console.print(f"✓ {records} records are valid: files, rules, data, poison sets, accuracies.", highlight=False)
        note("Whether a training on those poison sets gives those accuracies is for `poisonbench verify`.")
    return INVALID if found else 0


@dataclass(frozen=True)
class Verification:
    """What was asked for.

    Attributes:
        folder: of the bundle.
        by: who verifies, for the records.
        output: folder for the verified records, or None.
        as_json: print JSON.
    """

    folder: Path
    by: str | None
    output: Path | None
    as_json: bool


def verify(workplace: Workplace, request: Verification) -> int:
    """Validate, then train again on every poison set and compare; 4 if a record is not verified.

    An interrupted verification goes on where it stopped: its trainings are kept in a store of their own, beside the
    user's, into which nothing of a submission goes.

    Raises:
        CorruptFileError, ValidationError: if the bundle cannot be read.
        DataError: if a dataset is not here.
        ConfigError: for --output without --as.
    """
    if (request.output is None) != (request.by is None):
        raise ConfigError("--output needs --as NAME, who verified it, and --as needs --output.")
    opened = bundle.read(request.folder)
    datasets = _Datasets(workplace)
    verdicts: list[tuple[Record, Reexecution | str]] = []
    validator, device = Validator(opened, datasets), workplace.machine()
    with Bars() as bars, Store.open(str(locate(workplace.store).home / "verification")) as store:
        stages = StageCache(store, device, bars, Deadline.after(workplace.timeout))
        for record in opened.records:
            bars.label = record.record_id[:8]
            verdicts.append((record, _verdict(record, validator, stages)))
    _show(verdicts, request.as_json)
    verified = [verdict for _, verdict in verdicts if isinstance(verdict, Reexecution) and verdict.verified]
    if request.output is not None and request.by is not None:
        paths = write_records(request.output, [verdict.signed(request.by) for verdict in verified])
        note(f"Wrote {len(paths)} verified records to {request.output}.")
    return 0 if len(verified) == len(verdicts) else INVALID


class _Datasets:
    """Datasets by name, each loaded once."""

    def __init__(self, workplace: Workplace) -> None:
        self._options = workplace.data
        self._loaded: dict[str, Dataset] = {}

    def __call__(self, name: str) -> Dataset:
        if name not in self._loaded:
            self._loaded[name] = prepare(name, self._options)
        return self._loaded[name]


def _verdict(record: Record, validator: Validator, stages: StageCache) -> Reexecution | str:
    """What came of a record, or why it was not trained again."""
    try:
        settings, poison = rules(record), validator.check(record)
        dataset = validator.load(settings.protocol.dataset)
        return reexecute(record, settings, poison, dataset, stages, validator.bundle.manifest.tolerance)
    except _ABOUT_THE_RECORD as error:
        return str(error)


def _show(verdicts: list[tuple[Record, Reexecution | str]], as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps([_document(*pair) for pair in verdicts], indent=2) + "\n")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("record", "attack", "defense", "seed"):
        table.add_column(heading)
    for heading in ("acc2 %", "again", "tolerance"):
        table.add_column(heading, justify="right")
    table.add_column("verdict")
    for record, verdict in verdicts:
        labels = (record.record_id[:8], record.attack.name, record.defense.name, str(record.seeds.run))
        table.add_row(*map(Text, labels), *_numbers(verdict), Text(printable(_text(verdict))))
    console.print(table)


def _numbers(verdict: Reexecution | str) -> Iterator[str]:
    """Of acc2."""
    differences = verdict.differences if isinstance(verdict, Reexecution) else ()
    for one in differences:
        if one.name == "acc2":
            yield from (f"{one.submitted:.2f}", f"{one.found:.2f}", f"±{one.tolerance:.2f}")
            return
    yield from ("–", "–", "–")


def _text(verdict: Reexecution | str) -> str:
    if isinstance(verdict, str):
        return f"✗ {verdict}"
    wrong = [one for one in verdict.differences if not one.within]
    if not wrong:
        exact = all(one.submitted == one.found for one in verdict.differences)
        return "✓ verified, to the bit" if exact else "✓ verified"
    return "✗ " + "; ".join(
        f"{one.name} is {one.found:.2f}, not {one.submitted:.2f} ± {one.tolerance:.2f}" for one in wrong
    )


def _document(record: Record, verdict: Reexecution | str) -> dict[str, Any]:
    if isinstance(verdict, str):
        return {"record": record.record_id, "verified": False, "problem": verdict, "differences": []}
    differences = [
        {"name": one.name, "submitted": one.submitted, "found": one.found, "tolerance": one.tolerance}
        for one in verdict.differences
    ]
    return {"record": record.record_id, "verified": verdict.verified, "problem": None, "differences": differences}
