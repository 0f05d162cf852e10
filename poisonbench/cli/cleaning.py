"""What killed processes left, wherever commands write: `doctor` lists it, `doctor --clean` removes it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from poisonbench.data.base import default_cache_dir
from poisonbench.errors import PoisonbenchError
from poisonbench.files.leftovers import Leftover, beside, scratch_folders, temporaries
from poisonbench.leaderboard.site.folder import set_aside
from poisonbench.store import cleaning
from poisonbench.store.database import Store
from poisonbench.store.location import locate, verification
from poisonbench.terminal.consoles import note

Found = dict[str, dict[str, Any]]
"""By path, `what` it is and its `bytes`."""


def examine(store: str | None, folders: Sequence[Path], clean: bool) -> tuple[Found, Found]:
    """What nothing needs and is still there, and what was removed.

    Args:
        store: whose home is looked through, with its store of verifications.
        folders: that commands wrote to, besides the current one.
        clean: whether to remove what is found.
    """
    there, removed = Found(), Found()
    with ExitStack() as stores:
        for found in _everywhere(store, folders, stores):
            if str(found.path) in removed or str(found.path) in there:
                continue
            about = {"what": found.what, "bytes": found.bytes}
            if clean:
                _remove(found)
            (there if os.path.lexists(found.path) else removed)[str(found.path)] = about
    return there, removed


def _everywhere(store: str | None, folders: Sequence[Path], stores: ExitStack) -> Iterator[Leftover]:
    for name in _stores(store):
        try:
            opened = stores.enter_context(Store.open(name))
        except PoisonbenchError:
            continue  # which the report on the store says
        yield from cleaning.leftovers(opened)
    yield from temporaries(default_cache_dir())
    yield from scratch_folders()
    for folder in (Path.cwd(), *folders):
        yield from temporaries(folder, below=folder in folders)
        yield from set_aside(folder)
    for folder in folders:
        yield from beside(folder)
        yield from set_aside(folder.absolute().parent)


def _stores(store: str | None) -> Iterator[str | None]:
    yield store
    if (file := verification(locate(store)) / "store.db").is_file():
        yield str(file)


def _remove(found: Leftover) -> None:
    try:
        found.remove()
    except (OSError, PoisonbenchError) as error:
        note(f"Left {found.path}: {error}")
