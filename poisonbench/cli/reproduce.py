"""`poisonbench reproduce`: the paper's tables and figures, ours beside what it prints."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from poisonbench.cli.sweep import choices, show_plan, work
from poisonbench.cli.workplace import Workplace
from poisonbench.errors import UnknownNameError, unknown
from poisonbench.experiment.runner import Runner
from poisonbench.leaderboard.studies.results import CLEAN, Entry, StudyResults, with_clean
from poisonbench.leaderboard.studies.tables import as_csv, sheet
from poisonbench.leaderboard.tables.sheet_latex import latex
from poisonbench.leaderboard.tables.sheet_markdown import markdown
from poisonbench.leaderboard.tables.sheet_terminal import terminal
from poisonbench.store.record import Record
from poisonbench.sweeps import plan as sweep
from poisonbench.sweeps import study as studies
from poisonbench.sweeps.study import Place, Study
from poisonbench.terminal import console, note

FORMATS = ("terminal", "md", "latex", "csv")
FIGURES = ("svg", "png")
ALL = "all"


@dataclass(frozen=True)
class Request:
    """What was asked for.

    Attributes:
        names: studies, or all.
        profile: how much of them is run.
        format: of what is printed.
        output: folder for files of every format and the figures, or None.
        overwrite: see sweep.Overwrite.
        retry: failures to run again.
        dry_run: show the plan and stop.
        as_json: print JSON.
        debug: show tracebacks.
    """

    names: tuple[str, ...]
    profile: str
    format: str
    output: Path | None
    overwrite: str
    retry: tuple[str, ...]
    dry_run: bool
    as_json: bool
    debug: bool


def run(request: Request, workplace: Workplace) -> int:
    """Run what the store lacks of the studies, then show them; 1 if a cell of them has no good record."""
    if request.format not in FORMATS:
        raise UnknownNameError(unknown("format", request.format, list(FORMATS)))
    overwrite, retry = choices(request.overwrite, request.retry)
    chosen = [studies.load(name) for name in (studies.names() if ALL in request.names else request.names)]
    placed = {study.name: studies.places(study, request.profile) for study in chosen}
    cells = {cell.hash(): cell for places in placed.values() for place in places for cell in place.cells}
    with workplace.runner(force=overwrite is sweep.Overwrite.ALWAYS) as runner:
        planned = sweep.plan(runner.store, list(cells.values()), overwrite, retry)
        if request.dry_run:
            show_plan(runner, planned, request.as_json)
            return 0
        due = [part.cell for part in planned if part.due]
        work(runner, workplace, due, request.debug)
        records = {name: record for name in cells if (record := runner.store.for_cell(name)) is not None}
        found = [results(study, request.profile, placed[study.name], records) for study in chosen]
        if request.output is not None:
            for study, result in zip(chosen, found, strict=True):
                _write(study, result, request.output, runner)
    _show(found, request)
    if due:
        note(f"Ran {len(due)} of {len(cells)} cells; the others were in {runner.store.location}.")
    return 0 if len(records) == len(cells) else 1


def results(study: Study, profile: str, places: Sequence[Place], records: Mapping[str, Record]) -> StudyResults:
    """A study with the records of its cells, by cell hash."""
    rules, entries = studies.profile_of(study, profile), []
    for place in places:
        good = tuple(records[cell.hash()] for cell in place.cells if cell.hash() in records)
        printed = {str(name): n for name, n in study.printed.get(place.row, {}).get(place.column, {}).items()}
        clean, acc2 = study.clean.get(place.row), printed.get("acc2")
        recomputed = None if clean is None or acc2 is None else clean - acc2
        missing = len(place.cells) - len(good)
        entries.append(
            Entry(studies.renamed(place.row, rules), place.column, place.x, good, missing, printed, recomputed)
        )
    notes = [rules.note, *(text for place in places for text in place.notes), study.remark]
    return StudyResults(
        study.name,
        profile,
        studies.renamed(study.title, rules),
        study.shows,
        tuple(
            with_clean(entries, {studies.renamed(row, rules): acc for row, acc in study.clean.items()})
            if study.kind == "table" and "acc2" in study.shows
            else entries
        ),
        tuple(text for text in dict.fromkeys(notes) if text),
        study.x.label if study.x else None,
        bool(study.x and study.x.percent),
    )


def _show(found: Sequence[StudyResults], request: Request) -> None:
    if request.as_json:
        sys.stdout.write(json.dumps([_document(result) for result in found], indent=2) + "\n")
        return
    for result in found:
        if request.format == "terminal":
            console.print(terminal(sheet(result)))
            console.print()
        else:
            sys.stdout.write(_text(result, request.format) + "\n")


def _text(result: StudyResults, format_: str) -> str:
    if format_ == "csv":
        return as_csv(result)
    return latex(sheet(result)) if format_ == "latex" else markdown(sheet(result))


def _write(study: Study, result: StudyResults, folder: Path, runner: Runner) -> None:
    from poisonbench.cli.figure_file import write  # here: matplotlib takes a second to import
    from poisonbench.cli.poison_images import strip
    from poisonbench.leaderboard.images import strips
    from poisonbench.leaderboard.studies import plot as study_plot

    for suffix, format_ in (("md", "md"), ("tex", "latex"), ("csv", "csv")):
        write(folder / f"{study.name}.{suffix}", _text(result, format_).encode("utf-8"))
    if study.kind == "table":
        return
    drawn = [
        strip(runner.store, entry.records[0] if entry.records else None, f"{entry.row}\n{entry.column}", runner.data)
        for entry in (result.entries if study.kind == "images" else ())
    ]
    title = [result.title, f"{study.name}, profile {result.profile}"]
    for format_ in FIGURES:
        curves = study.kind == "curves"
        figure = study_plot.draw(result, format_) if curves else strips.draw(drawn, title, result.notes, format_)
        write(folder / f"{study.name}.{format_}", figure)


def _document(result: StudyResults) -> dict[str, Any]:
    entries = []
    for entry in result.entries:
        shown = ("acc1",) if entry.column == CLEAN else result.shows
        summaries = {value: entry.of(value) for value in shown}
        entries.append(
            {
                "row": entry.row,
                "column": entry.column,
                "x": entry.x,
                "values": {value: asdict(found) if found else None for value, found in summaries.items()},
                "printed": dict(entry.printed),
                "recomputed_drop": entry.recomputed,
                "records": [record.record_id for record in entry.records],
                "missing": entry.missing,
            }
        )
    return {
        "name": result.name,
        "profile": result.profile,
        "title": result.title,
        "notes": list(result.notes),
        "entries": entries,
    }
