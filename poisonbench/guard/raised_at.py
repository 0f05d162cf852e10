"""Where in its author's own files a method raised, for the one line that a record has of it."""

from __future__ import annotations

import sys
from pathlib import Path
from traceback import walk_tb
from types import FrameType

from poisonbench import plugged

AUTHORS: set[str] = set()
"""The packages that registered something; whatever else is installed is somebody's library."""

_INSTALLED = frozenset({"site-packages", "dist-packages"})


def raised_at(fault: BaseException) -> str:
    """The innermost frame in the method's own files, such as "fail.py:12", without the folders of this machine; one of
    ours if none is, as of a built-in method; "" of a fault that brings no frames, as from another process."""
    frames = [(frame, line) for frame, line in walk_tb(fault.__traceback__) if frame.f_code.co_filename[:1] != "<"]
    own = [one for one in frames if _is_the_authors(one[0])]
    ours = [one for one in frames if _root(one[0]) == "poisonbench" and not _module(one[0]).startswith(__package__)]
    frame, line = next((among[-1] for among in (own, ours) if among), (None, 0))
    return "" if frame is None else f"{Path(frame.f_code.co_filename).name}:{line}"


def _is_the_authors(frame: FrameType) -> bool:
    root = _root(frame)
    if root in ("poisonbench", "torch") or root in sys.stdlib_module_names:
        return _module(frame).startswith(f"{plugged.__name__}.")
    return root in AUTHORS or not _INSTALLED & {*Path(frame.f_code.co_filename).parts}


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _root(frame: FrameType) -> str:
    return _module(frame).partition(".")[0]
