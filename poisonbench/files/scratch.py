"""Folders for the time of a piece of work, in the system's folder for temporary files."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from poisonbench.files.holds import held

PREFIX = "poisonbench-scratch-"
"""Of their names: nothing of a user's begins so."""


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A new folder, gone at the end of the block; after a kill `doctor --clean` removes it."""
    with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as name, held(Path(name)):
        yield Path(name)
