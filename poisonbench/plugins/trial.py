"""A plugin's first import is in a process of its own: one that hangs, ends its process or changes others' functions is
refused in a line, and has touched nothing here.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from poisonbench.errors import PluginError
from poisonbench.guard.audit import FORKED, noticed
from poisonbench.guard.left_behind import left_behind
from poisonbench.guard.method_errors import first_line
from poisonbench.guard.process_state import process_kept
from poisonbench.plugins.child_process import listen

LIMIT_S = 120.0
"""How long a plugin may take to import."""

_LASTING = ("import path",)
"""What a module may change: it may find its own modules later."""

VARIABLE = "POISONBENCH_TRIED"
"""Set where imports were tried elsewhere: on workers of a cluster, by the driver."""


def try_import(module: str) -> None:
    """Import a plugin's module in a child process; workers, whose parent has done it, do not.

    Raises:
        PluginError: if the import hangs, ends the process, or leaves behind what cannot be undone.
    Cost: 50 ms and the time of the import, once a process and plugin; 3 s where no fork server runs yet.
    """
    if multiprocessing.parent_process() is not None or VARIABLE in os.environ:
        return
    try:
        refusals = list(listen(_import, module, LIMIT_S))
    except TimeoutError:
        raise PluginError(f"its import did not end within {LIMIT_S:g} s; load nothing but code there.") from None
    except ChildProcessError as error:
        raise PluginError(f"its import ends the process ({error}); never call exit or os._exit there.") from None
    if refusals:
        raise PluginError(refusals[0])


def import_anew(module: str) -> None:
    """Import a plugin's module here.

    Raises:
        PluginError: if it leaves behind what cannot be undone; it is then not imported.
    """
    with left_behind() as left, process_kept(but=_LASTING):
        importlib.import_module(module)
    try:
        _refuse(left)
    except PluginError:
        del sys.modules[module]
        raise


def _refuse(acts: list[str]) -> None:
    if acts:
        more = f" (and {len(acts) - 1} more)" if len(acts) > 1 else ""
        raise PluginError(f"its import {acts[0]}{more}; define things there, and run nothing.")


def _import(send: Callable[[Any], None], module: str) -> None:
    """The work of the child process: send why the module is refused, or nothing. One that raises is no matter of this
    trial: the import proper tells."""
    os.dup2(1, 2)  # what it prints, the import proper prints
    with noticed(()) as acts, left_behind() as left, process_kept(but=_LASTING), suppress(BaseException):
        importlib.import_module(module)
    try:
        _refuse([act for act in acts if act == FORKED] + left)
    except PluginError as error:
        send(first_line(error))
