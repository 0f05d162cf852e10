"""Standard error as native code knows it, past everything of Python's: the file descriptor."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_STDERR = 2


@contextmanager
def stderr_dropped() -> Iterator[None]:
    """What is written to standard error within goes nowhere, Python's too."""
    sys.stderr.flush()
    kept, nowhere = os.dup(_STDERR), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, _STDERR)
        yield
        sys.stderr.flush()
    finally:
        os.dup2(kept, _STDERR)
        os.close(kept)
        os.close(nowhere)
