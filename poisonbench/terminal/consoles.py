"""The two streams."""

from __future__ import annotations

from rich.console import Console

console = Console()
"""Results, on standard output."""

errors = Console(stderr=True)
"""Bars and notes, on standard error."""


def note(line: str) -> None:
    """One line beside the results: where they are, which source was used, what went wrong."""
    errors.print(line, markup=False, highlight=False, soft_wrap=True)
