"""`poisonbench leaderboard build | serve`."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

from poisonbench.cli.printed_drops import printed_drops
from poisonbench.errors import UsageError
from poisonbench.leaderboard.published import published
from poisonbench.leaderboard.site.build import Advance, Sources
from poisonbench.leaderboard.site.build import build as build_site
from poisonbench.leaderboard.site.gallery import Painter
from poisonbench.leaderboard.site.server import serve as serve_site
from poisonbench.process.gc_pause import gc_paused
from poisonbench.store.database import Store
from poisonbench.store.record import Record
from poisonbench.terminal import Bars, note

_PATIENCE = 2.0
"""Seconds before there is a bar."""


def build(store: str | None, output: Path, with_published: bool, with_gallery: bool) -> None:
    """Write the site and print where its first page is.

    Raises:
        UsageError: if there is something else in the folder.
        StoreError: if the store cannot be read or the folder not written.
    """
    sys.stdout.write(f"{_build(store, output, with_published, with_gallery)}\n")


def serve(store: str | None, folder: Path | None, port: int, with_browser: bool) -> None:
    """Serve a site that was built, or one that is built now, until Ctrl-C.

    Raises:
        UsageError: for a folder that has no site, or a port that is taken.
        StoreError: as `build`.
    """
    if folder is not None and not (folder / "index.html").is_file():
        raise UsageError(f"{folder} has no index.html. Build a site: poisonbench leaderboard build --output {folder}")
    with tempfile.TemporaryDirectory(prefix="poisonbench-") as temporary:
        index = _build(store, Path(temporary) / "site", True, True) if folder is None else folder / "index.html"
        serve_site(index.parent, port, with_browser, lambda url: note(f"Serving {url} until Ctrl-C."))


def _build(store: str | None, output: Path, with_published: bool, with_gallery: bool) -> Path:
    with gc_paused(), _bars() as advance, Store.open(store) as opened:
        records = [*opened.records(), *(published() if with_published else [])]
        paint = _painter(opened) if with_gallery and _has_artifacts(opened) else None
        # Figures are drawn beside this process: matplotlib takes a second for a few boards.
        with ProcessPoolExecutor(1, get_context("spawn")) as executor:
            return build_site(Sources(records, printed_drops(), paint), output, advance, executor)


def _has_artifacts(store: Store) -> bool:
    return (store.home / "artifacts").is_dir()


def _painter(store: Store) -> Painter:
    """Pictures of what this machine has: the poison set in the store, the dataset in its cache."""

    def paint(record: Record) -> tuple[bytes, str] | None:
        if not any(artifact.kind == "poison" and store.artifacts.has(artifact.sha256) for artifact in record.artifacts):
            return None
        from poisonbench.cli.thumbnail import thumbnail  # with torch; many stores have nothing to paint

        return thumbnail(store, record)

    return paint


@contextmanager
def _bars() -> Iterator[Advance]:
    """A bar for what takes longer than a blink."""
    began, running = time.monotonic(), ""
    with Bars() as bars:

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
