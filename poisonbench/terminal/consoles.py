"""The two streams."""

from __future__ import annotations

from rich.console import Console

console = Console()
"""Results, on standard output."""

errors = Console(stderr=True)
"""Bars and notes, on standard error."""


def note(line: str) -> None:
    """One line beside the results: where they are, which source was used, what went wrong."""
    errors.print(printable(line), markup=False, highlight=False, soft_wrap=True)


def printable(text: str) -> str:
    """Text that may come from a stranger's file, in one line and without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
