"""`poisonbench leaderboard build | serve`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from poisonbench.cli.options import QuietOption, StoreOption
from poisonbench.cli.reading import reading
from poisonbench.cli.strict_app import StrictApp
from poisonbench.errors import UnknownNameError, UsageError, unknown

if TYPE_CHECKING:
    from poisonbench.leaderboard.site.build import Advance
    from poisonbench.leaderboard.site.gallery import Painter
    from poisonbench.store.database import Store
    from poisonbench.store.record import Record

leaderboard_app = StrictApp(help="The leaderboard as web pages that open from a folder.", no_args_is_help=True)

OrderOption = Annotated[
    str,
    typer.Option(
        help="Order of the defenses on the boards that are built: mean, or worst, by what is left of the worst attack."
    ),
]

_PATIENCE = 2.0
"""Seconds before there is a bar."""


@leaderboard_app.command()
def build(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder; an earlier site in it is replaced.")] = Path(
        "site"
    ),
    published: Annotated[
        bool, typer.Option("--published/--no-published", help="With the records that ship with poisonbench.")
    ] = True,
    gallery: Annotated[
        bool, typer.Option("--gallery/--no-gallery", help="With pictures of the poison sets that are here.")
    ] = True,
    order: OrderOption = "mean",
    store: StoreOption = None,
    quiet: QuietOption = False,
) -> None:
    """Write the leaderboard as a folder of web pages: boards, attacks, defenses, records, data to download.

    It opens from the folder, needs no server and loads nothing from the network.
    """
    from poisonbench.terminal.consoles import write_text

    write_text(f"{_build(store, output, published, gallery, order, quiet)}\n")


@leaderboard_app.command()
def serve(
    folder: Annotated[
        Path | None, typer.Argument(help="A site that was built. Default: one that is built now.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
    browser: Annotated[bool, typer.Option("--open/--no-open", help="Open it in the browser.")] = True,
    order: OrderOption = "mean",
    store: StoreOption = None,
    quiet: QuietOption = False,
) -> None:
    """Show the leaderboard in the browser, served to this machine alone, until Ctrl-C."""
    from poisonbench.files.scratch import scratch_folder
    from poisonbench.leaderboard.site import server
    from poisonbench.terminal import note

    if folder is not None and not (folder / "index.html").is_file():
        raise UsageError(f"{folder} has no index.html. Build a site: poisonbench leaderboard build --output {folder}")
    with scratch_folder() as scratch:
        site = folder or _build(store, scratch / "site", True, True, order, quiet).parent
        server.serve(site, port, browser, lambda url: note(f"Serving {url} until Ctrl-C."))


def _build(store: str | None, output: Path, with_published: bool, with_gallery: bool, order: str, quiet: bool) -> Path:
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    from poisonbench.cli.printed_drops import printed_drops
    from poisonbench.leaderboard import published
    from poisonbench.leaderboard.defense_standings import ORDERS
    from poisonbench.leaderboard.site import build as site
    from poisonbench.process.gc_pause import gc_paused

    chosen = next((name for name in ORDERS if name == order), None)
    if chosen is None:
        raise UnknownNameError(unknown("order", order, list(ORDERS)))
    with gc_paused(), _bars(quiet) as advance, reading(store) as opened:
        records = [*opened.records(), *(published.published() if with_published else [])]
        paint = _painter(opened) if with_gallery else None
        sources = site.Sources(records, printed_drops(), paint, chosen, opened.entries())
        # Figures are drawn beside this process: matplotlib takes a second for a few boards.
        with ProcessPoolExecutor(1, get_context("spawn")) as executor:
            return site.build(sources, output, advance, executor)


def _painter(store: Store) -> Painter:
    """Pictures of published poison sets, which ship, and of what this machine has: the poison set in the store, the
    dataset in its cache."""
    from poisonbench.leaderboard.images.shipped import shipped_picture
    from poisonbench.leaderboard.site.gallery import poison_of

    def paint(record: Record) -> tuple[bytes, str] | None:
        poison = poison_of(record)
        if (found := shipped_picture(poison)) is not None or not store.artifacts.has(poison):
            return found
        from poisonbench.cli.thumbnail import thumbnail  # with torch; many stores have nothing to paint

        return thumbnail(store, record)

    return paint


@contextmanager
def _bars(quiet: bool) -> Iterator[Advance]:
    """A bar for what takes longer than a blink."""
    from poisonbench.terminal import Bars

    began, running = time.monotonic(), ""
    with Bars(quiet) as bars:

        def advance(step: str, done: int, total: int) -> None:
            nonlocal running
            if time.monotonic() - began < _PATIENCE:
                return
            if step != running:
                if running:
                    bars.end(running)
                bars.begin(step, total, done)
                running = step
            bars.advance(step, done, {})

        yield advance
