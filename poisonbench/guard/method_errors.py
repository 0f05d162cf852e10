"""Whatever a method raises becomes an error of ours, so that a record says in one line how the cell ended."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from poisonbench.errors import MethodError, OutOfMemoryError, PoisonbenchError
from poisonbench.guard.raised_at import raised_at


@contextmanager
def one_line_errors(author: str) -> Iterator[None]:
    """Run a method's code, and turn what it raises into an error of ours.

    Args:
        author: the method's name, for messages.
    Raises:
        MethodError: for any exception that is not of ours, SystemExit included; KeyboardInterrupt, MemoryError and
            torch.OutOfMemoryError pass.
        OutOfMemoryError: for the plain RuntimeError that PyTorch's CPU allocator raises.
    """
    try:
        yield
    except (PoisonbenchError, MemoryError, torch.OutOfMemoryError):
        raise
    except KeyboardInterrupt:
        raise
    except BaseException as fault:  # SystemExit as well, and panics of native code: they would end the whole run
        if "can't allocate memory" in first_line(fault):
            raise OutOfMemoryError(f"{author} ran out of memory: {first_line(fault)}") from fault
        raise MethodError(f"{author} raised {told(fault)}") from fault


def told(fault: BaseException) -> str:
    """What somebody's code raised, in one line: its type, its message, and where, as in "ValueError: odd (mine.py:12)".
    Errors of ours say what to do without a place."""
    where = "" if isinstance(fault, PoisonbenchError) else in_one_line(raised_at(fault))
    return f"{type(fault).__name__}: {first_line(fault)}" + (f" ({where})" if where else "")


def first_line(fault: BaseException) -> str:
    """An exception's message, cut to one line of text that every file and terminal takes."""
    try:
        text = str(fault)
    except Exception:  # an exception of somebody's whose message fails in turn
        text = ""
    return in_one_line(text) or "no message"


def in_one_line(text: str) -> str:
    """The first line of a text; halves of surrogate pairs, as of file names that are not UTF-8, are spelled out."""
    line = next(iter(text.strip().splitlines()), "")
    return line.encode("utf-8", "backslashreplace").decode("utf-8")[:300]
