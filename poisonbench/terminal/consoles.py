"""The consoles of standard output and standard error, and text that is safe to print there."""

from __future__ import annotations

from rich.console import Console

console = Console()
"""Results, on standard output."""

errors = Console(stderr=True)
"""Bars and notes, on standard error."""


def note(line: str) -> None:
    """Print one line beside the results, on standard error: where they are, which source was used, what went wrong."""
    errors.print(printable(line), markup=False, highlight=False, soft_wrap=True)


def printable(text: str) -> str:
    """Make printable a text that may come from a stranger's file, in one line and without what a terminal would
    obey."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
