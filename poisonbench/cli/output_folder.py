"""A folder that a command writes to once its work is done."""

from __future__ import annotations

from pathlib import Path

from poisonbench.errors import StoreError
from poisonbench.files.atomic import probe
from poisonbench.files.leftovers import temporaries


def make_sure_of(folder: Path) -> None:
    """Make the folder and see that it can be written, before any work; what killed processes left in it is removed.

    Raises:
        StoreError: if it cannot.
    """
    try:
        probe(folder)
        for found in temporaries(folder):
            found.remove()
    except OSError as error:
        raise StoreError(f"Cannot write to {folder}: {error.strerror or error}. Choose another --output.") from error
