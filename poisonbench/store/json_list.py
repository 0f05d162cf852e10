"""A list of JSON objects, one object at a time: a file may hold more of them than memory does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from mmap import mmap

from poisonbench.errors import CorruptFileError
from poisonbench.store.canonical import MAX_DEPTH

_START = re.compile(rb'\s*(?:\{(?:\s*"[a-z]+"\s*:\s*\d+\s*,)*\s*"records"\s*:\s*)?\[')
"""A list, or counts and then a list of records, as `sweep --json` prints them."""

_PIECE = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\Z)|[\[\]{}]', re.DOTALL)
"""A text, to its end or that of the document, or a bracket outside of texts."""

_COMMA = re.compile(rb"\s*,\s*")
_SPACE = re.compile(rb"\s*")
_END = re.compile(rb"\s*\}?\s*")


def begins(document: bytes | mmap) -> bool:
    """Whether it is such a list, by how it begins."""
    return _START.match(document) is not None


def objects(document: bytes | mmap, most: int) -> Iterator[bytes]:
    """The text of each object of the list; whether it is JSON is left to who parses it.

    Args:
        document: that `begins`.
        most: bytes that one may have.
    Raises:
        CorruptFileError: for a larger one, for anything else between two, and for a list without an end.
    """
    start = _START.match(document)
    begin = end = start.end() if start else 0
    depth, between = 0, _SPACE
    for piece in _PIECE.finditer(document, end):
        bracket = piece[0][:1]
        if depth == 0 and bracket != b'"':
            between = _SPACE if bracket == b"]" else between
            if not between.fullmatch(document, end, piece.start()):
                break
            begin, between = piece.start(), _COMMA
        if piece.end() - begin > most:
            raise CorruptFileError(f"an object of more than {most} bytes; at most so many are read")
        depth += {b"[": 1, b"{": 1, b"]": -1, b"}": -1}.get(bracket, 0)
        if depth > MAX_DEPTH:
            raise CorruptFileError(f"nested deeper than {MAX_DEPTH} levels")
        if depth == 0 and bracket != b'"':
            yield document[begin : piece.end()]
            end = piece.end()
        elif depth < 0:
            if bracket == b"]" and _END.fullmatch(document, piece.end()):
                return
            break
    raise CorruptFileError(f"not JSON: expected a list of objects, with commas between them, at byte {end}")
