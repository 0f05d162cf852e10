"""`poisonbench verify`: a bundle's results, trained again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from poisonbench.cli.options import Data, JsonOption, Machine, QuietOption, StoreOption, group_options
from poisonbench.cli.validate import BundleArgument
from poisonbench.errors import (
    BudgetError,
    ConfigError,
    CorruptFileError,
    PluginError,
    UnknownNameError,
    ValidationError,
)
from poisonbench.terminal.consoles import console, note, write_json
from poisonbench.terminal.fitted import Column, Fitted
from poisonbench.visible import one_line

if TYPE_CHECKING:
    from poisonbench.stages.cache import StageCache
    from poisonbench.store.record import Record
    from poisonbench.submission.evidence import Validator
    from poisonbench.submission.reexecution import Reexecution

_ABOUT_THE_RECORD = (ValidationError, CorruptFileError, BudgetError, UnknownNameError, PluginError)


@group_options
def verify(
    bundle: BundleArgument,
    machine: Machine,
    data: Data,
    by: Annotated[str | None, typer.Option("--as", help="Who verifies, for the verified records.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder for the verified records.")] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train again on a bundle's poison sets, under the locked protocol, and compare.

    Needs no attack: one whose code is closed can be verified. The records written by --output are for `results merge`.
    An interrupted verification goes on where it stopped.
    """
    from poisonbench.cli.output_folder import make_sure_of
    from poisonbench.cli.workplace import Workplace
    from poisonbench.stages.cache import StageCache
    from poisonbench.stages.stage import Deadline
    from poisonbench.store.database import Store
    from poisonbench.store.exchange import write_records
    from poisonbench.store.location import locate, verification
    from poisonbench.submission.bundle import read
    from poisonbench.submission.evidence import Validator
    from poisonbench.terminal import Bars

    if (output is None) != (by is None) or by == "":
        raise ConfigError("--output needs --as NAME, who verified it, and --as needs --output.")
    opened = read(bundle)
    if output is not None:
        make_sure_of(output)
    verdicts: list[tuple[Record, Reexecution | str]] = []
    validator, device = Validator(opened, data.loader()), Workplace(store, data, machine).device()
    with Bars(quiet) as bars, Store.open(str(verification(locate(store)))) as trainings:
        stages = StageCache(trainings, device, bars, Deadline.after(machine.timeout))
        for record in opened.records:
            bars.label = record.record_id[:8]
            verdicts.append((record, _verdict(record, validator, stages)))
    _show(verdicts, as_json)
    verified = [verdict for _, verdict in verdicts if not isinstance(verdict, str) and verdict.verified]
    if output is not None and by is not None:
        paths = write_records(output, [verdict.signed(by) for verdict in verified])
        note(f"Wrote {len(paths)} verified records to {output}.")
    raise typer.Exit(0 if len(verified) == len(verdicts) else ValidationError.exit_code)


def _verdict(record: Record, validator: Validator, stages: StageCache) -> Reexecution | str:
    """What came of a record, or why it was not trained again."""
    from poisonbench.submission.evidence import rules
    from poisonbench.submission.reexecution import reexecute

    try:
        settings, poison = rules(record), validator.check(record)
        dataset = validator.load(settings.protocol.dataset)
        return reexecute(record, settings, poison, dataset, stages, validator.bundle.manifest.tolerance)
    except _ABOUT_THE_RECORD as error:
        return str(error)


def _show(verdicts: Sequence[tuple[Record, Reexecution | str]], as_json: bool) -> None:
    if as_json:
        write_json([_document(*pair) for pair in verdicts])
        return
    columns = [*map(Column, ("record", "attack", "defense", "seed"))]
    columns += [Column(heading, "right") for heading in ("acc2 %", "again", "tolerance")]
    rows = []
    for record, verdict in verdicts:
        labels = (record.record_id[:8], record.attack.name, record.defense.name, str(record.seeds.run))
        rows.append(list(map(Text, (*labels, *_numbers(verdict), one_line(_text(verdict))))))
    console.print(Fitted([*columns, Column("verdict", prose=True)], rows))


def _numbers(verdict: Reexecution | str) -> Iterator[str]:
    """acc2 as it was submitted, as it was found and by how much they may differ."""
    differences = () if isinstance(verdict, str) else verdict.differences
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
