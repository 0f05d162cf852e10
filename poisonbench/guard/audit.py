"""Notices when a method reaches past what its view holds: datasets' files, the network, other objects of the process;
and when it makes a copy of the process.

Python reports such things to audit hooks, whoever does them. That is an alarm and no sandbox: native code that opens a
file itself, a program that the method starts, and what it read before it was watched go unseen.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

from poisonbench.errors import ValidationError

_CODE = (".py", ".pyc", ".so")
_NETWORK = {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"}
_OBJECTS = {"gc.get_objects", "gc.get_referrers"}
_FORK = "os.fork"
_EVENTS = {"open", _FORK, *_NETWORK, *_OBJECTS}


@dataclass(frozen=True)
class _Watch:
    """A watch: what is forbidden, and what was done in spite of it."""

    forbidden: tuple[str, ...]
    names: tuple[str, ...]
    allowed: tuple[str, ...]
    noticed: list[str] = field(default_factory=list)

    def notice(self, event: str, arguments: tuple[Any, ...]) -> None:
        act = self._opened(arguments[0]) if event == "open" else _acted(event, arguments)
        if act is not None and act not in self.noticed:
            self.noticed.append(act)

    def _opened(self, file: object) -> str | None:
        if not isinstance(file, str | bytes | os.PathLike):
            return None  # a file descriptor
        path = os.path.realpath(os.fsdecode(file))
        if path.endswith(_CODE):
            return None
        within = [folder for folder in (*self.forbidden, *self.allowed) if Path(path).is_relative_to(folder)]
        innermost = max(within, key=len, default=None)
        if innermost in self.forbidden or os.path.basename(path).startswith(self.names):  # noqa: PTH119
            return f"opened {path}"
        return None


_watches: list[_Watch] = []


@contextmanager
def noticed(forbidden: Sequence[Path], names: Sequence[str] = (), allowed: Sequence[Path] = ()) -> Iterator[list[str]]:
    """Note what code does within that a method must not do, each act once: "opened FILE", "connected to HOST".

    Threads that run meanwhile are watched too. A copy of this process that the code makes with os.fork ends here: it
    must not go on with what the process does next.

    Args:
        forbidden: folders of data.
        names: how the names of datasets' files begin, wherever they lie.
        allowed: folders within them that may be read, such as a store's.
    """
    _install()
    watch = _Watch(tuple(map(os.path.realpath, forbidden)), tuple(names), tuple(map(os.path.realpath, allowed)))
    _watches.append(watch)
    try:
        with _safetensors_reports(), copies_end():
            yield watch.noticed
    finally:
        _watches.remove(watch)


@contextmanager
def copies_end() -> Iterator[None]:
    """End every copy that code within makes of this process with os.fork, where that code ends."""
    process = os.getpid()
    try:
        yield
    finally:
        if os.getpid() != process:
            os._exit(1)


@contextmanager
def watched(
    author: str,
    doing: str,
    side: str,
    forbidden: Sequence[Path],
    names: Sequence[str] = (),
    allowed: Sequence[Path] = (),
) -> Iterator[None]:
    """Run a method's code, and refuse what it must not do.

    Args:
        author: its name, for messages.
        doing: crafting or defending.
        side: attacker or defender.
        forbidden, names, allowed: as in `noticed`.
    Raises:
        ValidationError: at the end, if it did what it must not; names the first such act.
    """
    with noticed(forbidden, names, allowed) as acts:
        fault: Exception | None = None
        try:
            yield
        except Exception as error:
            fault = error
    if acts:
        more = f" (and {len(acts) - 1} more)" if len(acts) > 1 else ""
        why = f"the {side} sees its view alone, and not the test set"
        if acts[0] == FORKED:
            why = "a copy of a run would go on with it; start a program, or use multiprocessing"
        raise ValidationError(f"{author} {acts[0]} while {doing}{more}: {why}.") from fault
    if fault is not None:
        raise fault


@cache
def _install() -> None:
    """Install the audit hook, once: Python never removes one."""
    sys.addaudithook(_hook)


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _watches and event in _EVENTS:
        for watch in _watches:
            watch.notice(event, arguments)


def _acted(event: str, arguments: tuple[Any, ...]) -> str | None:
    if event == _FORK:
        return None if _called_by_multiprocessing() else FORKED
    if event in _OBJECTS:
        return f"searched the objects of this process ({event})"
    address = arguments[0] if event in ("socket.getaddrinfo", "socket.gethostbyname") else arguments[1]
    if isinstance(address, str | bytes) and event in ("socket.connect", "socket.sendto"):
        return None  # a Unix socket, which stays on this machine
    return f"connected to {':'.join(str(part) for part in address[:2]) if isinstance(address, tuple) else address}"


FORKED = "forked this process (os.fork)"
"""The act of making a copy."""


def _called_by_multiprocessing() -> bool:
    """Whether the innermost frame outside of this module is one of multiprocessing, which ends its copies itself."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_globals.get("__name__") == __name__:
        frame = frame.f_back
    return frame is not None and str(frame.f_globals.get("__name__")).startswith("multiprocessing.")


@contextmanager
def _safetensors_reports() -> Iterator[None]:
    """Make safetensors report the files that it opens: it does so in native code, which no audit hook hears of."""
    import safetensors

    original = safetensors.safe_open

    def safe_open(filename: Any, *arguments: Any, **keywords: Any) -> Any:
        sys.audit("open", filename, "r", 0)
        return original(filename, *arguments, **keywords)

    holders = [module for module in list(sys.modules.values()) if _own(module).get("safe_open") is original]
    for holder in holders:
        _own(holder)["safe_open"] = safe_open
    try:
        yield
    finally:
        for holder in holders:
            _own(holder)["safe_open"] = original


def _own(module: object) -> dict[str, Any]:
    return getattr(module, "__dict__", {})
