"""The consoles of standard output and standard error, and text that is safe to print there."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from poisonbench.terminal.encoding import text_in_letters_of


class _Console(Console):
    """A console that spells what its encoding lacks before it breaks lines."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        if isinstance(renderable, str):
            renderable = self.render_str(renderable)
        if isinstance(renderable, Text):
            renderable = text_in_letters_of(self.encoding, renderable)
        return super().render(renderable, options)


console = _Console()
"""Results, on standard output."""

errors = _Console(stderr=True)
"""Bars and notes, on standard error."""


def note(line: str) -> None:
    """Print one line beside the results, on standard error: where they are, which source was used, what went wrong."""
    errors.print(printable(line), markup=False, highlight=False, soft_wrap=True)


def printable(text: str) -> str:
    """Make printable a text that may come from a stranger's file, in one line and without what a terminal would
    obey."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
