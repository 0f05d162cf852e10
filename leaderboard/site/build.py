"""The site from records: pages, data and assets, in one folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment

from poisonbench.leaderboard.conditions import Conditions
from poisonbench.leaderboard.declarations import declaration
from poisonbench.leaderboard.defense_standings import Order
from poisonbench.leaderboard.experiments import Entries
from poisonbench.leaderboard.site import bundle, data, method_view
from poisonbench.leaderboard.site.board_view import BoardView, view
from poisonbench.leaderboard.site.catalogue import KINDS, Catalogue, catalogue
from poisonbench.leaderboard.site.caveats import caveats
from poisonbench.leaderboard.site.compare_data import families
from poisonbench.leaderboard.site.figures import Figures, certified_accuracy, strength_against_time
from poisonbench.leaderboard.site.folder import replacing
from poisonbench.leaderboard.site.gallery import Painter, Picture, Wanted, pictures, wanted
from poisonbench.leaderboard.site.glimpse import groups
from poisonbench.leaderboard.site.packed import packed, script
from poisonbench.leaderboard.site.printed import Paper
from poisonbench.leaderboard.site.record_pages import RecordPages
from poisonbench.leaderboard.site.rendering import environment
from poisonbench.leaderboard.site.siblings import switches
from poisonbench.store.record import Record

Advance = Callable[[str, int, int], None]
"""Called with a step's name, how much of it is done and of how much."""


@dataclass(frozen=True)
class Sources:
    """What a site is made of.

    Attributes:
        records: in any order; one that is there twice counts once.
        paper: what the paper prints.
        paint: makes pictures of poisoned points; None for a site without.
        order: of the defenses on a board.
        entries: of the store that the records are from.
    """

    records: Iterable[Record]
    paper: Paper = field(default_factory=dict)
    paint: Painter | None = None
    order: Order = "mean"
    entries: Entries = field(default_factory=dict)


def build(sources: Sources, folder: Path, advance: Advance = lambda *_: None, executor: Executor | None = None) -> Path:
    """Write the site and return the path of its index.html. The same sources give the same bytes.

    Args:
        sources: what it is made of.
        folder: to write.
        advance: hears how far it is.
        executor: who draws the figures; None is this process.
    Raises:
        UsageError: if there is something in `folder` that is no site made here.
        StoreError: if it cannot be written, or itables is not what it was.
    """
    with replacing(folder) as new:
        _write(sources, new, advance, executor)
    return folder / "index.html"


def _write(sources: Sources, folder: Path, advance: Advance, executor: Executor | None) -> None:
    found = catalogue(sources.records, sources.order, sources.entries)
    strengths = strength_against_time(found.boards, executor)
    proofs = certified_accuracy(found.boards, executor)
    for name in ("assets", "attacks", "boards", "data", "defenses"):
        (folder / name).mkdir()
    _assets(folder)
    _data(found, folder)
    gallery = _gallery(wanted(found), sources.paint, folder, advance) if sources.paint else {}
    rendering = environment(found)
    _records(rendering, found, gallery, folder, advance)
    views = _boards(rendering, found, sources.paper, (strengths, proofs), folder, advance)
    _indexes(rendering, found, views, folder)
    _methods(rendering, found, views, gallery, proofs, folder)


def _assets(folder: Path) -> None:
    for item in files("poisonbench.leaderboard.site").joinpath("assets").iterdir():
        (folder / "assets" / item.name).write_bytes(item.read_bytes())
    _put(folder / "assets" / "datatables.js", bundle.script())


def _data(found: Catalogue, folder: Path) -> None:
    (folder / "data" / "records.csv.gz").write_bytes(packed(data.as_csv(found.records)))
    (folder / "data" / "records.json.gz").write_bytes(packed(data.as_list(found.boards)))
    _put(folder / "data" / "records.js", script("records", {"rows": data.as_rows(found)}))
    _put(folder / "data" / "boards.json", data.as_json(found))


def _gallery(wanted: Wanted, paint: Painter, folder: Path, advance: Advance) -> dict[str, Picture]:
    steps = _counter(advance, "pictures", len(wanted))
    return pictures(wanted, paint, folder, lambda: next(steps))


def _boards(
    rendering: Environment,
    found: Catalogue,
    paper: Paper,
    figures: tuple[Figures[Conditions], Figures[tuple[Conditions, str]]],
    folder: Path,
    advance: Advance,
) -> list[BoardView]:
    template, views = rendering.get_template("board.html"), []
    steps = _counter(advance, "boards", len(found.boards))
    for board in found.boards:
        views.append(view(board, paper))
        strength, proofs = figures[0](board.conditions), figures[1]((board.conditions, ""))
        page = template.render(
            root="../",
            page="board",
            view=views[-1],
            strength=strength,
            proofs=proofs,
            switches=switches(board, found.boards),
            caveats=list(caveats(board)),
        )
        _put(folder / "boards" / f"{found.board_slugs[board.conditions]}.html", page)
        next(steps)
    return views


def _indexes(rendering: Environment, found: Catalogue, views: list[BoardView], folder: Path) -> None:
    conditions = [board.conditions for board in found.boards if not board.conditions.earlier]
    methods = {kind: [(name, _summary(kind, name)) for name in found.methods[kind]] for kind in KINDS}
    contexts: dict[str, dict[str, Any]] = {
        "index": {
            "views": views,
            "groups": groups(views),
            "methods": methods,
            "datasets": list(dict.fromkeys(one.dataset for one in conditions)),
            "models": list(dict.fromkeys(one.model for one in conditions)),
        },
        "records": {"columns": data.TABLE_COLUMNS},
        "record": {},
        "compare": {"boards": [one.board for one in views if one.comparable]},
        "about": {},
    }
    for name, context in contexts.items():
        _put(folder / f"{name}.html", rendering.get_template(f"{name}.html").render(root="", page=name, **context))


def _summary(kind: str, name: str) -> str:
    return " Then: ".join(filter(None, (declaration(kind, part).summary for part in name.split("+"))))


def _methods(
    rendering: Environment,
    found: Catalogue,
    views: list[BoardView],
    gallery: dict[str, Picture],
    proofs: Figures[tuple[Conditions, str]],
    folder: Path,
) -> None:
    by_attack: dict[str, list[Picture]] = {}
    for picture in gallery.values():
        by_attack.setdefault(picture.attack, []).append(picture)
    template = rendering.get_template("method.html")
    for kind in KINDS:
        for method in method_view.views(kind, found.methods[kind], views, by_attack):
            page = template.render(root="../", page=kind, method=method, proofs=proofs)
            _put(folder / f"{kind}s" / f"{found.method_slugs[kind, method.name]}.html", page)


def _records(
    rendering: Environment, found: Catalogue, gallery: dict[str, Picture], folder: Path, advance: Advance
) -> None:
    pages = RecordPages(rendering, found, gallery)
    steps = _counter(advance, "records", len(found.boards))
    for board in found.boards:
        slug = found.board_slugs[board.conditions]
        value = pages.of(board.records) | {"families": families(board, found.method_page(board))}
        _put(folder / "data" / f"{slug}.js", script(slug, value))
        next(steps)


def _counter(advance: Advance, name: str, total: int) -> Iterator[None]:
    for done in range(1, total + 1):
        advance(name, done, total)
        yield


def _put(path: Path, text: str) -> None:
    """Write a file. One lost to a power cut is made again: nothing is synced to the disk file by file."""
    path.write_bytes(text.encode("utf-8"))
