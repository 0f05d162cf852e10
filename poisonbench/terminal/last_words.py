"""The end of the process from anywhere in it: from a signal's handler, or a thread while another one hangs."""

from __future__ import annotations

import os
from typing import NoReturn

from poisonbench.visible import one_line

_SHOW_CURSOR = "\x1b[?25h"  # a live table hides it


def end_with(line: str, code: int) -> NoReturn:
    """Say a line and end the process at once; what that leaves is what a kill leaves. Nothing of Python's printing is
    used: somebody may be in the midst of it."""
    shown = _SHOW_CURSOR if os.isatty(2) else ""
    os.write(2, f"{shown}{one_line(line)}\n".encode())
    os._exit(code)
