"""Work in a child process, which may hang, die or print without harm.

Python's fork server imports torch and this package once and forks a process for each call; where there is none, each
process is a new interpreter.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection
from typing import Any

from poisonbench.plugged import VARIABLE

START_S = 300.0
"""How long a process may take to start and to import torch, on a machine that does much else."""

_READY = "ready"

Work = Callable[[Callable[[Any], None], Any], None]
"""(send, request) ↦ nothing: sends what it finds."""


def listen(work: Work, request: Any, limit: float) -> Iterator[Any]:
    """What `work(send, request)` sends from a process of its own, which is gone when this ends.

    Args:
        work: a function of a module; picklable, as is the request.
        request: its argument.
        limit: seconds that may pass between two messages.
    Raises:
        TimeoutError: if more did.
        ChildProcessError: if the process ended without an end; says how.
    """
    server = "forkserver" in multiprocessing.get_all_start_methods()
    context: Any = multiprocessing.get_context("forkserver" if server else "spawn")
    if server:
        context.set_forkserver_preload(["poisonbench.testing"])
    ours, theirs = context.Pipe(duplex=False)
    plugins = os.environ.get(VARIABLE)
    with _other_interpreters(), closing(ours):
        process = context.Process(target=_serve, args=(theirs, plugins, work, request))
        process.start()
        theirs.close()
        try:
            yield from _messages(ours, limit)
        except EOFError:
            process.join()
            raise ChildProcessError(_how_it_ended(process.exitcode)) from None
        finally:
            process.kill()
            process.join()


def _messages(connection: Connection, limit: float) -> Iterator[Any]:
    if not connection.poll(START_S):
        raise TimeoutError
    assert connection.recv() == _READY
    while True:
        if not connection.poll(limit):
            raise TimeoutError
        done, message = connection.recv()
        if done:
            return
        yield message


def _serve(connection: Connection, plugins: str | None, work: Work, request: Any) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)  # standard output is the caller's
    sys.stdout = os.fdopen(nowhere, "w", encoding="utf-8")
    os.environ.pop(VARIABLE, None)
    if plugins is not None:
        os.environ[VARIABLE] = plugins  # the fork server may be older than that
    connection.send(_READY)
    work(lambda message: connection.send((False, message)), request)
    connection.send((True, None))


def _how_it_ended(code: int | None) -> str:
    return f"killed by signal {-code}" if code is not None and code < 0 else f"exit code {code}"


@contextmanager
def _other_interpreters() -> Iterator[None]:
    """Those that are started within have another hash seed, and do not look for modules in the working directory, which
    may be a checkout."""
    ours = {"PYTHONHASHSEED": "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2", "PYTHONSAFEPATH": "1"}
    usual = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in usual.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
