"""The sentence for a file that is not what its name says."""

from __future__ import annotations

from pathlib import Path

from poisonbench.errors import CorruptFileError


def not_a(path: Path, kind: str) -> CorruptFileError:
    """The error for a file that should have been `kind`; says so if it looks like a web page saved under its name."""
    with path.open("rb") as file:
        head = file.read(256).lstrip(b"\xef\xbb\xbf \t\r\n")
    hint = " (an HTML page?)" if head.startswith(b"<") else ""
    return CorruptFileError(f"{path.name} is {path.stat().st_size} bytes, not {kind}{hint}")
