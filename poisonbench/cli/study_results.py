"""A study with the records of its cells: printed, and written as files and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from poisonbench.experiment.runner import Runner
from poisonbench.leaderboard.studies.results import CLEAN, Entry, StudyResults, with_clean
from poisonbench.leaderboard.studies.tables import as_csv, sheet
from poisonbench.leaderboard.tables.sheet_latex import latex
from poisonbench.leaderboard.tables.sheet_markdown import markdown
from poisonbench.store.record import Record
from poisonbench.sweeps import study as studies
from poisonbench.sweeps.study import Place, Study
from poisonbench.terminal.consoles import console, write_json, write_text
from poisonbench.terminal.sheet import terminal

FORMATS = ("terminal", "md", "latex", "csv")
FIGURES = ("svg", "png")


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


def show(found: Sequence[StudyResults], format_: str, as_json: bool) -> None:
    """Print studies in one of FORMATS, or as JSON."""
    if as_json:
        write_json([_document(result) for result in found])
        return
    for result in found:
        if format_ == "terminal":
            console.print(terminal(sheet(result)))
            console.print()
        else:
            write_text(f"{_text(result, format_)}\n")


def _text(result: StudyResults, format_: str) -> str:
    if format_ == "csv":
        return as_csv(result)
    return latex(sheet(result)) if format_ == "latex" else markdown(sheet(result))


def write_files(study: Study, result: StudyResults, folder: Path, runner: Runner) -> None:
    """Write a study to a folder: Markdown, LaTeX and CSV, and its figures.

    Raises:
        DataError: if the dataset of poison images is not here.
        StoreError: if a poison set is gone, or a file cannot be written.
    """
    from poisonbench.cli.figure_file import write  # here: matplotlib takes a second to import
    from poisonbench.cli.poison_images import strip
    from poisonbench.leaderboard.images import strips
    from poisonbench.leaderboard.plots import fraction_figure
    from poisonbench.leaderboard.plots.fraction import curves
    from poisonbench.leaderboard.studies import plot as study_plot

    for suffix, format_ in (("md", "md"), ("tex", "latex"), ("csv", "csv")):
        write(folder / f"{study.name}.{suffix}", _text(result, format_).encode("utf-8"))
    if study.kind == "table":
        return
    if study.kind == "removal":
        if found := curves(record for entry in result.entries for record in entry.records):
            for format_ in FIGURES:
                write(folder / f"{study.name}.{format_}", fraction_figure.draw(found, format_))
        return
    drawn = [
        strip(runner.store, entry.records[0] if entry.records else None, f"{entry.row}\n{entry.column}", runner.data)
        for entry in (result.entries if study.kind == "images" else ())
    ]
    title = [result.title, f"{study.name}, profile {result.profile}"]
    for format_ in FIGURES:
        lines = study.kind == "curves"
        figure = study_plot.draw(result, format_) if lines else strips.draw(drawn, title, result.notes, format_)
        write(folder / f"{study.name}.{format_}", figure)


def _document(result: StudyResults) -> dict[str, Any]:
    entries = []
    for entry in result.entries:
        shown = ("acc1",) if entry.column == CLEAN else result.shows
        spreads = {value: entry.of(value) for value in shown}
        entries.append(
            {
                "row": entry.row,
                "column": entry.column,
                "x": entry.x,
                "values": {
                    value: {**asdict(found.summary), "interval_is": found.random} if found else None
                    for value, found in spreads.items()
                },
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
