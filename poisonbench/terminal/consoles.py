"""The one door to standard output and standard error: nothing that is printed here is obeyed by a terminal.

Texts are as they are: no markup, no emoji codes, no guesses at what is a number; what is bold is a Text that says so.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Iterable
from contextlib import suppress

from rich.console import Console, ConsoleOptions, RenderableType
from rich.highlighter import JSONHighlighter
from rich.protocol import rich_cast
from rich.segment import Segment
from rich.text import Text

from poisonbench.terminal.encoding import text_in_letters_of
from poisonbench.visible import escaped, one_line, visible


class _Console(Console):
    """A console that replaces what a terminal would obey, and spells what its encoding lacks, before it breaks
    lines."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        renderable = rich_cast(renderable)
        if isinstance(renderable, str):
            renderable = self.render_str(renderable)
        if isinstance(renderable, Text):
            renderable = text_in_letters_of(self.encoding, renderable)
        return super().render(renderable, options)


console = _Console(markup=False, highlight=False, emoji=False)
"""Results, on standard output."""

errors = _Console(stderr=True, markup=False, highlight=False, emoji=False)
"""Bars and notes, on standard error."""


def note(line: str) -> None:
    """Print one line beside the results, on standard error: where they are, which source was used, what went wrong."""
    with suppress(OSError):  # a log that is full ends no run
        errors.print(one_line(line), soft_wrap=True)


def show_traceback(error: BaseException) -> None:
    """Print where an error comes from, on standard error."""
    errors.print("".join(traceback.format_exception(error)).rstrip(), soft_wrap=True)


def write_text(text: str) -> None:
    """Print what has its lines already, such as Markdown or CSV, however wide the console is."""
    sys.stdout.write(visible(text))


def write_json(value: object) -> None:
    """Print a value as JSON, in ASCII, for other programs."""
    sys.stdout.write(f"{_json(value)}\n")


def show_json(value: object) -> None:
    """Print a value as JSON for a person: the same text, in colours if the console has any."""
    console.print(JSONHighlighter()(Text(_json(value))), soft_wrap=True)


def _json(value: object) -> str:
    return escaped(json.dumps(value, indent=2))
