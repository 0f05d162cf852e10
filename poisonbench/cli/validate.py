"""`poisonbench validate`: what a bundle's own files prove."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from poisonbench.cli.options import Data, JsonOption, group_options
from poisonbench.counted import counted
from poisonbench.errors import CorruptFileError, ValidationError
from poisonbench.terminal.consoles import console, note, write_json
from poisonbench.visible import one_line

BundleArgument = Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder that `submit` wrote.")]


@group_options
def validate(bundle: BundleArgument, data: Data, as_json: JsonOption = False) -> None:
    """Check a bundle's schema, sizes, hashes, budgets, labels and accuracies; runs no code of it."""
    raise typer.Exit(report(bundle, data, as_json))


def report(folder: Path, data: Data, as_json: bool) -> int:
    """Print every problem of a bundle; returns 4 if there is one.

    Raises:
        DataError: if a dataset is not here.
    """
    from poisonbench.submission import bundle
    from poisonbench.submission.evidence import Finding, Validator

    try:
        opened = bundle.read(folder)
    except (CorruptFileError, ValidationError) as error:
        found, records = [Finding("", str(error))], 0
    else:
        found, records = list(Validator(opened, data.opener()).findings()), len(opened.records)
    if as_json:
        problems = [{"record": one.record_id or None, "problem": one.problem} for one in found]
        write_json({"records": records, "valid": not found, "problems": problems})
    elif found:
        for one in found:
            named = one.problem.startswith(str(folder)) and not one.record_id
            console.print(one_line(f"✗ {one.problem if named else f'{one.record_id or folder}: {one.problem}'}"))
    else:
        console.print(f"✓ {counted(records, 'record')}, valid: files, rules, data, poison sets, accuracies.")
        note("Whether a training on those poison sets gives those accuracies is for `poisonbench verify`.")
    return ValidationError.exit_code if found else 0
