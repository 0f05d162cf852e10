"""An http(s) URL opened: one try, and a short time-out, so that a machine without a network learns so quickly."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from poisonbench.errors import DataError

TIMEOUT = 10.0
"""Seconds to connect, and the longest silence while reading."""


def ask(url: str, start: int | None = None, name: str = "") -> http.client.HTTPResponse:
    """The server's answer, open; it is read in `refusals_told`.

    Args:
        url: http or https.
        start: the first byte that is asked for, of a server that sends parts; None for the whole file.
        name: what messages begin with.
    Raises:
        OSError: if the server cannot be reached (urllib's URLError is one).
        DataError: for another kind of address, or if the server has no such file or breaks the protocol.
    """
    # Which is what ruff's S310 below asks for.
    if not url.startswith(("https://", "http://")):
        raise DataError(f"{name}it is not an http(s) address")
    with refusals_told(name):
        request = urllib.request.Request(url, headers={} if start is None else {"Range": f"bytes={start}-"})  # noqa: S310
        answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=TIMEOUT)  # noqa: S310
    return answer


@contextmanager
def refusals_told(name: str = "") -> Iterator[None]:
    """What a server refuses or breaks is a DataError, with urllib's own error as its cause."""
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()  # it is an open connection as well
        raise DataError(f"{name}{error}") from error
    except http.client.HTTPException as error:
        raise DataError(f"{name}{type(error).__name__}: {error}") from error
