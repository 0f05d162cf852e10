"""Ctrl-C: the first ends a command in order, another one at once."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

import typer

from poisonbench.terminal.consoles import note
from poisonbench.terminal.last_words import end_with

EXIT_CODE = 130

_LINE = "Interrupted. Run the same command again to go on from there."


class _Interrupts:
    """The handler of SIGINT. It stays the same one, as whoever runs a method's code puts back the one that was there.

    Attributes:
        heard: whether there was one.
        said: whether the line is printed.
    """

    def __init__(self) -> None:
        self.heard = self.said = False

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        """In the midst of anything: what was being printed may not be entered again."""
        if not self.heard:
            self.heard = True
            raise KeyboardInterrupt
        if not self.said:
            end_with(_LINE, EXIT_CODE)
        os._exit(EXIT_CODE)


_interrupts = _Interrupts()


@contextmanager
def interruptible() -> Iterator[None]:
    """A command. Ctrl-C unwinds it, then says so and ends the process; a second one ends it wherever it is: amid the
    cleaning up it would be a traceback, and that may take longer than somebody will wait. What it leaves is what a
    kill leaves."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # in a background job it is ignored
        signal.signal(signal.SIGINT, _interrupts)
    try:
        yield
    except typer.Exit:
        raise
    except (KeyboardInterrupt, typer.Abort):
        _end()
    except Exception:
        if _interrupts.heard:  # some import that it fell into has made another error of it
            _end()
        raise


def _end() -> NoReturn:
    """End the process now that all is cleaned up: the interpreter's own end would take another Ctrl-C amiss."""
    _interrupts.heard = True
    note(_LINE)
    _interrupts.said = True
    sys.stdout.flush()
    os._exit(EXIT_CODE)
