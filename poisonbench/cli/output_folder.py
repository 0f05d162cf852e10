"""A folder that a command writes to once its work is done."""

from __future__ import annotations

import os
from pathlib import Path

from poisonbench.errors import StoreError
from poisonbench.store.atomic import write_atomically


def make_sure_of(folder: Path) -> None:
    """Make the folder and see that it can be written, before any work.

    Raises:
        StoreError: if it cannot.
    """
    probe = folder / f".probe-{os.getpid()}"
    try:
        write_atomically(probe, b"")
        probe.unlink()
    except OSError as error:
        raise StoreError(f"Cannot write to {folder}: {error.strerror or error}. Choose another --output.") from error
