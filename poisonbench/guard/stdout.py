"""Keep standard output for results: what a method prints goes to standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

_STDOUT, _STDERR = 1, 2


@contextmanager
def stdout_as_stderr() -> Iterator[None]:
    """Send standard output to standard error: Python's, and that of native code and of programs started within, which
    write to the file descriptor."""
    sys.stdout.flush()
    try:
        kept = os.dup(_STDOUT)
    except OSError:  # closed: nothing to keep clean
        with redirect_stdout(sys.stderr):
            yield
        return
    try:
        os.dup2(_STDERR, _STDOUT)
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, _STDOUT)
        os.close(kept)
