"""`poisonbench results fetch`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from poisonbench.cli.options import PublishedOption, QuietOption, StoreOption
from poisonbench.counted import counted
from poisonbench.errors import DataError, UnknownNameError, unknown
from poisonbench.terminal.consoles import note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from poisonbench.store.artifacts import Kind
    from poisonbench.store.fetching import FetchReport, Named

LISTED = 20
"""Artifacts that a source has not which are named one by one: a source of few has none of the other thousands."""

KindsOption = Annotated[
    str | None,
    typer.Option(
        "--kinds",
        help="Of artifacts, by comma: poison, predictions, clean-predictions, weights, defense. Default: all.",
    ),
]


def fetch(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A folder that `results export --artifacts`, `results deposit` or `submit` wrote, or another store's; "
            "a .zip archive; or an http(s) URL of either.",
        ),
    ],
    records: Annotated[
        list[str] | None, typer.Argument(metavar="[RECORD]", help="Record ids, or the starts of them. Default: all.")
    ] = None,
    kinds: KindsOption = None,
    published: PublishedOption = False,
    store: StoreOption = None,
    quiet: QuietOption = False,
) -> None:
    """Bring poison sets, predictions and other artifacts that records name and the store lacks, or has damaged.

    Each is checked against the size and the SHA-256 in its record before it is kept. What the source has not, or has
    damaged, is named, and the others go in. What is there and whole is not fetched again, so that the same command goes
    on after an interruption.

    With --published, a record that ships with poisonbench goes into the store, as `results merge` would take it, once
    all that was asked of it is there: then `gallery`, `submit` and `load_poison` find it.
    """
    from poisonbench.cli.reading import reading
    from poisonbench.leaderboard.gathered import gathered, named
    from poisonbench.store.artifact_sources import opened
    from poisonbench.store.fetching import fetch as bring
    from poisonbench.terminal.bars import Bars

    chosen_kinds = kinds_of(kinds)
    with reading(store, new=published) as there, opened(source, note) as found, Bars(quiet) as bars:
        there.writable()
        chosen = [named(there, name, published) for name in records] if records else gathered(there, {}, published)

        def seen(done: int, total: int, size: int) -> None:
            if not done:
                bars.begin("fetch", total, 0)
            bars.advance("fetch", done, {"MiB": size / 2**20})

        report = bring(there, chosen, found, chosen_kinds, seen)
        bars.end("fetch")
    _say(report, source)
    if report.missing or report.refused or report.stopped:
        raise typer.Exit(DataError.exit_code)


def kinds_of(text: str | None) -> tuple[Kind, ...]:
    """Kinds by comma; all of them if none are given.

    Raises:
        UsageError: for one that there is none of, and for what is empty or twice there.
    """
    from poisonbench.cli.axes import commas, refuse_twice
    from poisonbench.store.artifacts import KINDS

    if text is None:
        return KINDS
    names = commas(text, "--kinds")
    refuse_twice(names, "--kinds")
    for name in names:
        if name not in KINDS:
            raise UnknownNameError(unknown("kind of artifact", name, list(KINDS)))
    return tuple(kind for kind in KINDS if kind in names)


def _say(report: FetchReport, source: str) -> None:
    from poisonbench.store.artifact_sources import named

    for one in report.damaged:
        became = "replaced" if one in report.fetched else "not replaced"
        note(f"Damaged in the store, and {became}: the {one}.")
    for one, reason in report.refused:
        note(f"Refused the {one}: {reason}.")
    _say_missing(report.missing, named(source))
    if report.stopped:
        note(
            f"Error: {named(source)} cannot be reached any more: {report.stopped}. The same command goes on from here."
        )
    size = f", {report.bytes / 2**20:.1f} MiB" if report.fetched else ""
    merged = f" {counted(len(report.merged), 'published record')} went into the store." if report.merged else ""
    failed = f"{len(report.missing)} missing, {len(report.refused)} refused"
    note(f"{len(report.fetched)} fetched{size}, {len(report.already_there)} already there, {failed}.{merged}")


def _say_missing(missing: Sequence[Named], source: str) -> None:
    for one in missing[:LISTED]:
        note(f"Not in {source}: the {one}.")
    if len(missing) > LISTED:
        note(f"Not in {source}: {len(missing) - LISTED} more. RECORD and --kinds choose.")
