"""Records of a board in one small file, as they are published: canonical JSON lines under xz, and beside it their ids.

`FOLDER/PROTOCOL/MODEL.jsonl.xz` and `MODEL.ids`. What repeats from record to record costs nothing: 0.3 kB a record are
left of 6 kB as plain text, and most of them are hashes.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from poisonbench.errors import CorruptFileError

SUFFIX = ".jsonl.xz"
IDS = ".ids"

MAGIC = b"\xfd7zXZ\x00"
"""How such a file begins."""

LONGEST = 4 * 2**20
"""A record is some kilobytes; nothing larger than this is read at all."""

MAX_BYTES = 512 * 2**20
"""The same of all the text in one file."""

PRESET = 9 | lzma.PRESET_EXTREME
_MEMORY = 128 * 2**20
"""What taking it out may need; PRESET needs half of it."""

_CHUNK = 2**20


def texts(file: IO[bytes]) -> Iterator[bytes | None]:
    """The records' texts one after the other, None for one that is longer than LONGEST.

    Raises:
        CorruptFileError: if it is no such file, is cut short or goes on behind its end, or holds too much.
    Cost: 12 ms a megabyte of text.
    """
    line = bytearray()
    skipping = False
    for chunk in _chunks(file):
        *ended, rest = chunk.split(b"\n")
        for part in ended:
            line += part
            yield None if skipping or len(line) > LONGEST else bytes(line)
            line.clear()
            skipping = False
        line += rest
        if len(line) > LONGEST:
            line.clear()
            skipping = True
    if line or skipping:
        raise CorruptFileError("its last line does not end; it was cut short")


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    unpacking = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY)
    left = MAX_BYTES
    try:
        while not unpacking.eof:
            packed = file.read(_CHUNK) if unpacking.needs_input else b""
            if unpacking.needs_input and not packed:
                raise CorruptFileError("it was cut short")
            chunk = unpacking.decompress(packed, _CHUNK)
            left -= len(chunk)
            if left < 0:
                raise CorruptFileError(f"more than {MAX_BYTES} bytes of text; at most so many are read")
            yield chunk
    except lzma.LZMAError as error:
        raise CorruptFileError(f"not what xz writes: {error}") from None
    if unpacking.unused_data or file.read(1):
        raise CorruptFileError("something follows its end")


def ids_beside(path: Path) -> Path:
    """The file with the ids of the records in a packed one, a line each, in their order."""
    return path.with_name(path.name.removesuffix(SUFFIX) + IDS)
