"""What killed processes left in a store's home: temporary files, and checkpoints that no stage goes on from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from poisonbench.errors import StoreError
from poisonbench.files.leftovers import Leftover, leftover, temporaries
from poisonbench.store.database import Store
from poisonbench.store.location import DATABASE_SUFFIXES, HOME_FOLDERS


def leftovers(store: Store) -> Iterator[Leftover]:
    """Everything in the store's home that nothing needs. Records, finished stages, artifacts and lock files are never
    among it."""
    for part in HOME_FOLDERS:
        yield from temporaries(store.home / part, below=True)
    yield from _finished(store)


def unfinished(store: Store) -> dict[str, int]:
    """`unfinished_stages` and the bytes of their checkpoints, from which the same commands go on."""
    folders = [folder for folder in _folders(store) if _is_needed(store, folder)]
    return {
        "unfinished_stages": len(folders),
        "checkpoint_bytes": sum(leftover(folder, "").bytes for folder in folders),
    }


def _finished(store: Store) -> Iterator[Leftover]:
    if not _is_alone(store):
        return

    def remove(folder: Path) -> None:
        with store.lock(folder.name, timeout=0):  # StoreError if somebody computes the stage right now
            if not _is_needed(store, folder):
                leftover(folder, "").remove()

    for folder in _folders(store):
        if not _is_needed(store, folder):
            yield leftover(folder, "checkpoint of a finished stage", remove)


def _folders(store: Store) -> list[Path]:
    there = store.home / "checkpoints"
    found = sorted(there.iterdir()) if there.is_dir() else []
    return [path for path in found if path.is_dir() and not path.is_symlink() and not path.name.startswith(".")]


def _is_needed(store: Store, folder: Path) -> bool:
    """Whether a stage goes on from there: it has saved something, and its result is not in the store, whole."""
    if not any(folder.iterdir()):
        return False
    try:
        document = store.stage(folder.name)
        return document is None or not store.artifacts.has(str(document["artifact"]["sha256"]))
    except (StoreError, KeyError, TypeError):  # a damaged stage is computed again
        return True


def _is_alone(store: Store) -> bool:
    """Whether no other database has this home: one would know of stages that this store does not."""
    file = store.location.file
    return file is not None and not [
        path for path in store.home.iterdir() if path.suffix in DATABASE_SUFFIXES and path != file
    ]
