"""`poisonbench results deposit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from poisonbench.cli.fetch import KindsOption, kinds_of
from poisonbench.cli.options import PublishedOption, QuietOption, StoreOption
from poisonbench.counted import counted
from poisonbench.errors import ValidationError
from poisonbench.terminal.consoles import note


def deposit(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write; a new one.")],
    title: Annotated[str, typer.Option(help="Title of the deposit.")],
    creator: Annotated[
        list[str],
        typer.Option(help="'Family, Given; ORCID; affiliation', of which the last two may be left out; once for each."),
    ],
    records: Annotated[
        list[str] | None, typer.Argument(metavar="[RECORD]", help="Record ids, or the starts of them. Default: all.")
    ] = None,
    description: Annotated[str | None, typer.Option(help="Plain text. Default: what the records are.")] = None,
    license_: Annotated[
        str | None, typer.Option("--license", help="SPDX identifier, such as CC-BY-4.0. Default: poisonbench's.")
    ] = None,
    doi: Annotated[str | None, typer.Option(help="A DOI that is reserved for it.")] = None,
    kinds: KindsOption = None,
    published: PublishedOption = False,
    store: StoreOption = None,
    quiet: QuietOption = False,
) -> None:
    """Write records and their artifacts as a deposit for a DOI, such as on Zenodo.

    One folder: the records packed and as a table, an archive of their artifacts for `results fetch`, metadata for
    Zenodo, Croissant, a README and checksums. The same records give the same bytes. A record of which an artifact is
    missing or damaged is left out and named; --kinds says which artifacts go in.
    """
    from poisonbench.cli.reading import reading
    from poisonbench.leaderboard.gathered import gathered, named
    from poisonbench.submission.deposit import write
    from poisonbench.submission.deposit_about import About, Creator
    from poisonbench.terminal.bars import Bars

    chosen_kinds = kinds_of(kinds)
    given = {key: value for key, value in (("license", license_), ("doi", doi)) if value is not None}
    about = About(title, tuple(map(Creator.parse, creator)), description, **given)
    with reading(store) as opened, Bars(quiet) as bars:
        chosen = [named(opened, name, published) for name in records] if records else gathered(opened, {}, published)

        def seen(done: int, total: int) -> None:
            if not done:
                bars.begin("deposit", total, 0)
            bars.advance("deposit", done, {})

        report = write(opened, chosen, output, about, chosen_kinds, seen)
        bars.end("deposit")
    for name, reason in report.refused:
        note(f"Left out record {name}: {reason}")
    written = f"{counted(report.records, 'record')} and {counted(report.artifacts, 'artifact')}"
    note(f"Wrote {written}, {report.bytes / 2**20:.1f} MiB, to {output}.")
    if report.refused:
        raise typer.Exit(ValidationError.exit_code)
