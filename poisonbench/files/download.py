"""One file over HTTP, whole."""

from __future__ import annotations

from pathlib import Path

from poisonbench.errors import CorruptFileError, DataError
from poisonbench.files.web import ask, refusals_told


def download(url: str, to: Path, limit: int) -> None:
    """Fetch a URL into a file.

    Raises:
        OSError: if it cannot be reached (urllib's URLError is one) or the file cannot be written.
        DataError: if the server has no such file or breaks the protocol, or hangs up early.
        CorruptFileError: if more than `limit` bytes come.
    """
    size, name = 0, f"{url}: "
    with ask(url, name=name) as answer, refusals_told(name), to.open("wb") as file:
        while block := answer.read(1 << 20):
            size += len(block)
            if size > limit:
                raise CorruptFileError(f"{url} sends more than the {limit} bytes expected")
            file.write(block)
        if answer.length:  # what is left of the length that it stated, of which http.client says nothing
            raise DataError(f"{name}it ends after {size} of {size + answer.length} bytes")
