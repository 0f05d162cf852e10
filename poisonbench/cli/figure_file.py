"""Where a command's figure goes."""

from __future__ import annotations

from pathlib import Path

from poisonbench.errors import ConfigError, StoreError
from poisonbench.files.atomic import write_atomically
from poisonbench.files.leftovers import clear_beside
from poisonbench.leaderboard.plots.figures import FORMATS
from poisonbench.terminal.consoles import write_text


def format_of(output: Path) -> str:
    """The format that a file's name asks for.

    Raises:
        ConfigError: if there is no such format.
    """
    format_ = output.suffix.lower().removeprefix(".")
    if format_ not in FORMATS:
        raise ConfigError(f"--output {output}: expected a name that ends in .{', .'.join(FORMATS)}.")
    return format_


def write(output: Path, figure: bytes) -> None:
    """Write a figure whole or not at all, and print where it is.

    Raises:
        StoreError: if it cannot be written.
    """
    try:
        clear_beside(output)
        write_atomically(output, figure)
    except OSError as error:
        raise StoreError(f"Cannot write {output}: {error.strerror or error}. Choose another --output.") from error
    write_text(f"{output}\n")
