"""The idx format of MNIST's files: 0, 0, type, rank, big-endian sizes, then the bytes; plain or gzipped."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

from poisonbench.data.content import Bytes, not_a
from poisonbench.errors import CorruptFileError

_UBYTE = 8


def read_idx(path: Path, shape: tuple[int, ...]) -> Bytes:
    """Read the unsigned bytes of an idx file of exactly that shape. A gzipped one is known by its content, not its
    name.

    Never decompresses more than the shape asks for, whatever the file claims.

    Raises:
        CorruptFileError: if it is not an idx file, or one of another shape, or too short or too long.
    """
    with path.open("rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
    array = np.empty(shape, np.uint8)
    try:
        with gzip.open(path) if zipped else path.open("rb") as stream:
            header = stream.read(4 + 4 * len(shape))
            if header[:4] != bytes((0, 0, _UBYTE, len(shape))) or len(header) != 4 + 4 * len(shape):
                raise not_a(path, f"an idx file of {len(shape)}-dimensional bytes")
            found = struct.unpack(f">{len(shape)}I", header[4:])
            if found != shape:
                raise CorruptFileError(f"{path.name} holds an array of shape {found}, expected {shape}")
            filled = stream.readinto(array.data.cast("B"))
            surplus = stream.read(1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise CorruptFileError(f"{path.name} is {path.stat().st_size} bytes of broken gzip ({error})") from error
    if filled != array.size or surplus:
        raise CorruptFileError(
            f"{path.name} has {'more than' if surplus else f'only {filled} of'} the {array.size} bytes its header names"
        )
    return array
