"""Python's garbage collector, paused where it finds nothing."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def gc_paused() -> Iterator[None]:
    """Pause the collector while many records are read: they are millions of objects, none of them garbage, and to look
    for some takes a quarter of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
