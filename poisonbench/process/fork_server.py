"""Python's fork server, which imports what workers need once and forks each of them from there.

Import nothing here that takes long: a command starts the server first, and imports the same beside it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import context
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from types import ModuleType

_PRELOADS = ("poisonbench.process.preload",)


def worker_context() -> BaseContext:
    """How worker processes are started: by the fork server, which runs then and ends with this process, and where there
    is none each as a new interpreter.

    None of them imports the script of the process that starts it: that may be no module, and run everything again.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return _SpawnContext()
    found = _ForkServerContext()
    found.set_forkserver_preload(list(_PRELOADS))
    _start_server()
    return found


def start_early(device: str, threads: int | None, jobs: int | None) -> None:
    """Start the fork server if the command may come to have workers.

    Args:
        device: as asked for; large problems of a GPU start workers if they are asked for.
        threads: CPU threads that are allowed, or None for the cores.
        jobs: workers that are asked for, or None.
    """
    allowed = threads or int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    likely = allowed > 1 and device in ("auto", "cpu") if jobs is None else jobs > 1
    if likely:
        worker_context()


def _start_server() -> None:
    """Ctrl-C at a terminal is for every process there, and this command's alone to handle: the server and what it forks
    do not hear it, from the start."""
    from multiprocessing.forkserver import ensure_running

    if threading.current_thread() is not threading.main_thread():
        ensure_running()
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        ensure_running()
    finally:
        signal.signal(signal.SIGINT, handler)


@contextmanager
def _script_hidden() -> Iterator[None]:
    """Within, Python sees an empty script, which no child process has to import."""
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


class _Scriptless(BaseProcess):
    def start(self) -> None:
        """See BaseProcess."""
        with _script_hidden():
            super().start()


class _SpawnProcess(_Scriptless, context.SpawnProcess):
    pass


class _SpawnContext(context.SpawnContext):
    Process = _SpawnProcess


if sys.platform != "win32":

    class _ForkServerProcess(_Scriptless, context.ForkServerProcess):
        pass

    class _ForkServerContext(context.ForkServerContext):
        Process = _ForkServerProcess
