"""A file behind an http(s) URL, read from wherever it is sought, from servers that send parts of files."""

from __future__ import annotations

import http.client
import io
import re
from typing import Any

from poisonbench.errors import DataError
from poisonbench.files.web import ask, refusals_told

_RANGE = re.compile(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18})")
_NEAR = 2**16
"""Bytes that are read and thrown away sooner than a new connection is made."""


class RemoteFile(io.RawIOBase):
    """A file of which the server sends what is asked for; a piece that is read in order is one connection.

    Attributes:
        size: its bytes.
        partial: whether the server sends parts; if not, nothing can be read.

    Args:
        url: http or https.
    Raises:
        OSError: if the server cannot be reached.
        DataError: if it has no such file.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url, self._at = url, 0
        self._answer: http.client.HTTPResponse | None = None
        answer = ask(url, 0)
        found = _RANGE.fullmatch(answer.headers.get("Content-Range") or "")
        self.partial = answer.status == 206 and found is not None
        self.size = int(found[2]) if found else answer.length or 0
        if self.partial:
            self._answer = answer
        else:
            answer.close()

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next byte is read from."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """See io; asks the server for nothing."""
        target = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence])
        ahead = target - self._at
        if self._answer is not None and ahead:
            if 0 < ahead <= _NEAR:
                with refusals_told():
                    self._answer.read(ahead)
            else:
                self._hang_up()
        self._at = target
        return target

    def readinto(self, buffer: Any) -> int:
        """See io.

        Raises:
            OSError, DataError: if the server cannot be reached any more, or sends something else.
        """
        if self._at >= self.size or not len(buffer):
            return 0
        with refusals_told():
            if self._answer is None:
                self._answer = ask(self._url, self._at)
                begins = _RANGE.fullmatch(self._answer.headers.get("Content-Range") or "")
                if self._answer.status != 206 or begins is None or int(begins[1]) != self._at:
                    raise DataError("the server sent another part than it was asked for")
            size = self._answer.readinto(buffer)
        if not size:
            raise DataError(f"it ends after {self._at} of {self.size} bytes")
        self._at += size
        return size

    def close(self) -> None:
        """Let go of the connection."""
        self._hang_up()
        super().close()

    def _hang_up(self) -> None:
        if self._answer is not None:
            self._answer.close()
            self._answer = None
