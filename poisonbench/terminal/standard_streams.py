"""Standard output that cannot take what is printed."""

from __future__ import annotations

import errno
import os
import sys

_REFUSED = {errno.ENOSPC, errno.EDQUOT, errno.EBADF, errno.EIO}


def open_closed_streams() -> None:
    """Give each standard stream that is closed (`>&-`) a descriptor again, which refuses what is written to standard
    output: or else the next file that is opened, such as the store's, would be number 1, and be printed into."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR if number == 2 else os.O_RDONLY)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)


def refusal(error: OSError) -> str | None:
    """A line on an error that standard output gave; None for one of anything else, which names its file."""
    if error.filename is not None or error.errno not in _REFUSED:
        return None
    return f"Standard output cannot be written: {error.strerror}. Results of runs are in the store; print them again."


def discard_output() -> None:
    """Let whatever is not printed yet go nowhere, so that the end of the process does not try it once more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
