"""Work in a child process, which may hang, die or print without harm.

Python's fork server imports torch and this package once and forks a process for each call; where there is none, each
process is a new interpreter.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

from poisonbench.plugged import VARIABLE
from poisonbench.process.fork_server import worker_context

START_S = 300.0
"""How long a process may take to start and to import torch, on a machine that does much else."""

_READY = "ready"
_ENDING_S = 5.0
"""How long a process may take to end that has closed its connection."""

Work = Callable[[Callable[[Any], None], Any], None]
"""(send, request) ↦ nothing: sends what it finds."""


@dataclass(frozen=True, eq=False)
class Child:
    """A process at work.

    Attributes:
        process: the process, of multiprocessing.
        connection: what it sends: _READY, (False, message) for each message, and (True, None) at its end.
        said: the messages that `is_over` has heard.
    """

    process: Any
    connection: Connection
    said: list[Any] = field(default_factory=list)

    @classmethod
    def start(cls, work: Work, request: Any) -> Child:
        """Start a process for `work(send, request)`.

        Args:
            work: a function of a module; picklable, as is the request.
            request: its argument.
        """
        context: Any = worker_context()
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_serve, args=(theirs, os.environ.get(VARIABLE), work, request))
        process.start()
        theirs.close()
        return cls(process, ours)

    def messages(self, limit: float | None) -> Iterator[Any]:
        """What it sends.

        Args:
            limit: seconds that may pass between two messages.
        Raises:
            TimeoutError: if more did.
            ChildProcessError: if the process ended without an end; says how.
        """
        try:
            self._wait(START_S)
            assert self.connection.recv() == _READY
            while True:
                self._wait(limit)
                done, message = self.connection.recv()
                if done:
                    return
                yield message
        except EOFError:
            raise ChildProcessError(self.ending()) from None

    def is_over(self) -> bool:
        """Whether it has said all that it will; waits for nothing."""
        try:
            while self.connection.poll():
                if (heard := self.connection.recv()) != _READY:
                    done, message = heard
                    if done:
                        return True
                    self.said.append(message)
        except EOFError:
            return True
        return not self.process.is_alive()

    def _wait(self, limit: float | None) -> None:
        """Until there is a message. A copy of the process may hold the connection open when the process is gone."""
        if not wait([self.connection, self.process.sentinel], limit):
            raise TimeoutError
        if not self.connection.poll():
            raise EOFError

    def ending(self) -> str:
        """How it ended that has closed its connection, for people."""
        self.process.join(_ENDING_S)
        code: int | None = self.process.exitcode
        return f"killed by signal {-code}" if code is not None and code < 0 else f"exit code {code}"

    def kill(self) -> None:
        """End it at once, whatever it does."""
        self.connection.close()
        self.process.kill()
        self.process.join()


def listen(work: Work, request: Any, limit: float) -> Iterator[Any]:
    """What `work(send, request)` sends from a process of its own, which is gone when this ends.

    Args:
        work, request: as in Child.start.
        limit: seconds that may pass between two messages.
    Raises:
        TimeoutError: if more did.
        ChildProcessError: if the process ended without an end; says how.
    """
    with _other_interpreters():
        child = Child.start(work, request)
        try:
            yield from child.messages(limit)
        finally:
            child.kill()


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
