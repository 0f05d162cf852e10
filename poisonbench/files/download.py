"""One file over HTTP: one try, and a short time-out, so that a machine without a network learns so quickly."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from pathlib import Path

from poisonbench.errors import CorruptFileError, DataError

TIMEOUT = 10.0
"""Seconds to connect, and the longest silence while reading."""


def download(url: str, to: Path, limit: int) -> None:
    """Fetch a URL into a file.

    Raises:
        OSError: if it cannot be reached (urllib's URLError is one) or the file cannot be written.
        DataError: if the server has no such file or breaks the protocol.
        CorruptFileError: if more than `limit` bytes come.
    """
    # Which is what ruff's S310 below asks for.
    if not url.startswith(("https://", "http://")):
        raise DataError(f"{url} is not an http(s) address")
    size = 0
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer, to.open("wb") as file:  # noqa: S310
            while block := answer.read(1 << 20):
                size += len(block)
                if size > limit:
                    raise CorruptFileError(f"{url} sends more than the {limit} bytes expected")
                file.write(block)
    except urllib.error.HTTPError as error:
        error.close()  # it is an open connection as well
        raise DataError(f"{url}: {error}") from error
    except http.client.HTTPException as error:
        raise DataError(f"{url}: {type(error).__name__}: {error}") from error
