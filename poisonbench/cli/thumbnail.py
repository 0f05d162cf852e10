"""A record's poisoned points as a picture for its page."""

from __future__ import annotations

from poisonbench.cli.poison_images import load
from poisonbench.data.base import DataOptions
from poisonbench.errors import DataError, StoreError
from poisonbench.leaderboard.images import thumbnails
from poisonbench.store.database import Store
from poisonbench.store.record import Record


def thumbnail(store: Store, record: Record) -> tuple[bytes, str] | None:
    """A PNG and a sentence on what it shows; None if poison set or dataset are not on this machine."""
    try:
        exhibits = load(store, record, DataOptions(offline=True)).key_exhibits()
    except (DataError, StoreError):
        return None
    return (thumbnails.png(exhibits), thumbnails.caption(exhibits)) if exhibits else None
