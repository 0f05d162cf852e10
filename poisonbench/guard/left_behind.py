"""What code may leave behind in its process that is no setting: functions of others replaced, threads that still run.

A function is put back, yet whoever took it meanwhile has the other one; a thread cannot be ended at all. Both are told,
so that nothing is recorded that was computed beside them.
"""

from __future__ import annotations

import builtins
import re
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import thread as executors
from contextlib import contextmanager
from functools import cache
from inspect import unwrap
from operator import is_
from pathlib import Path
from types import FunctionType, ModuleType

_WATCHED = re.compile(
    r"builtins|math|os|random|time|(numpy|poisonbench)(\.[a-z]\w*)*|torch(\._C)?"
    r"|torch\.(_functorch|_tensor|autograd|fft|func|functional|linalg|nn|optim|random|special|utils\.data)(\..*)?"
)
"""The modules whose functions the engine and its methods compute with."""

_FOLLOWS = {"torch.Storage"}
"""What PyTorch itself replaces with the default dtype."""

_ENDING_S = 1.0
"""How long a thread is waited for that is about to end."""

Holder = ModuleType | type
Names = dict[str, object]


@contextmanager
def left_behind() -> Iterator[list[str]]:
    """Note what code leaves behind, once it has ended: "replaced torch.randperm", "left the thread Thread-1 running".

    What it replaced is put back. Functions of a package that the package itself wraps are no replacement
    (torch.compile does so with torch.manual_seed). Threads that end with the interpreter are none: daemons, and those
    of concurrent.futures.

    Cost: about 6 ms, to look at some 20,000 names twice.
    """
    found: list[str] = []
    holders, threads = _holders(), set(threading.enumerate())
    try:
        yield found
    finally:
        found.extend(one for holder, held in holders for one in _put_back(holder, held))
        found.extend(f"left the thread {one.name} running" for one in _running(threads))


def _holders() -> list[tuple[Holder, Names]]:
    """The watched modules and the classes that they define, with all that each holds."""
    watched = [one for name, one in sys.modules.copy().items() if _is_watched(name) and type(one) is ModuleType]
    modules = [(module, vars(module).copy()) for module in watched]
    classes = [(cls, vars(cls).copy()) for module, held in modules for cls in _classes(module.__name__, held)]
    return [*modules, *classes]


@cache
def _is_watched(name: str) -> bool:
    return _WATCHED.fullmatch(name) is not None


def _classes(module: str, held: Names) -> list[type]:
    """Those that the module defines; classes of C cannot be changed."""
    found = [one for one in held.values() if isinstance(one, type) and one.__module__ == module]
    return [one for one in found if not one.__flags__ & 1 << 8]  # Py_TPFLAGS_IMMUTABLETYPE


def _functions(holder: Holder, names: Names) -> Names:
    """Of what it holds or held, the functions and classes."""
    return {
        name: one
        for name, one in names.items()
        if (callable(one) or isinstance(one, staticmethod | classmethod | property))
        and f"{_title(holder)}.{name}" not in _FOLLOWS
    }


def _put_back(holder: Holder, held: Names) -> Iterator[str]:
    holds = vars(holder).copy()
    if [*holds] == [*held] and all(map(is_, holds.values(), held.values())):  # in the order of their definition
        return
    now, functions = _functions(holder, holds), _functions(holder, held)
    for name, one in functions.items():
        if now.get(name) is not one and not _wrapped_by_its_package(now.get(name), one):
            setattr(holder, name, one)
            yield f"replaced {_title(holder)}.{name}"
    for name in now.keys() - functions.keys():
        if _hides_another(holder, name):
            delattr(holder, name)
            yield f"replaced {_title(holder)}.{name}"


def _hides_another(holder: Holder, name: str) -> bool:
    """Whether a new name takes the place of one that was found elsewhere so far."""
    if isinstance(holder, type):
        return any(name in vars(base) for base in holder.__mro__[1:])
    return holder is not builtins and hasattr(builtins, name) and not name.startswith("__")


def _title(holder: Holder) -> str:
    return f"{holder.__module__}.{holder.__qualname__}" if isinstance(holder, type) else holder.__name__


def _wrapped_by_its_package(found: object, kept: object) -> bool:
    if not isinstance(found, FunctionType) or not callable(kept):
        return False
    folder = _folder((getattr(kept, "__module__", None) or "").partition(".")[0])
    return (
        folder is not None and Path(found.__code__.co_filename).is_relative_to(folder) and unwrap(found) is unwrap(kept)
    )


@cache
def _folder(package: str) -> Path | None:
    file = getattr(sys.modules.get(package), "__file__", None)
    return Path(file).parent if file and file.endswith("__init__.py") else None


def _running(before: set[threading.Thread]) -> list[threading.Thread]:
    """Threads that were not there before, and do not end."""
    until = time.monotonic() + _ENDING_S
    for one in _lasting(before):
        one.join(max(0.0, until - time.monotonic()))
    return _lasting(before)


def _lasting(before: set[threading.Thread]) -> list[threading.Thread]:
    started = [one for one in threading.enumerate() if one not in before and one is not threading.current_thread()]
    return [one for one in started if not one.daemon and one not in executors._threads_queues]
