"""CIFAR-10's pickled batches, read without unpickling.

A pickle is a program, and `pickle.load` runs it. Here `pickletools.genops` lists its instructions and nothing carries
them out: the pixels are the one long string among them, the labels are the integers pushed right after the key
`labels`. What comes out is checked against the dataset's SHA-256, so that a batch that would unpickle to anything else
is refused.
"""

from __future__ import annotations

import pickletools
from pathlib import Path

import numpy as np

from poisonbench.data.content import Bytes, not_a
from poisonbench.errors import CorruptFileError

_INTEGERS = {"BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4"}
_BETWEEN = {"EMPTY_LIST", "LIST", "MARK", "APPEND", "APPENDS", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "FRAME"}
"""Instructions that build a list of integers without being one; any other ends the labels."""
_OVERHEAD = 128
"""Bytes a row, beside its pixels, that its label and file name may take (about 32 in the released files)."""


def read_pickled_batch(path: Path, rows: int, pixels: int) -> tuple[Bytes, Bytes]:
    """Read the pixels (rows, pixels) and labels (rows,) of one batch.

    Raises:
        CorruptFileError: if it is not a pickle, or does not hold that many pixels and labels.
    """
    expected = f"a pickled batch of {rows} images"
    if path.stat().st_size > rows * (pixels + _OVERHEAD) + (1 << 16):
        raise not_a(path, expected)
    image_bytes: bytes | None = None
    labels: list[int] = []
    in_labels = False
    try:
        with path.open("rb") as file:
            for opcode, value, _ in pickletools.genops(file):
                if in_labels and opcode.name in _INTEGERS and isinstance(value, int):
                    labels.append(value)
                elif opcode.name not in _BETWEEN:
                    in_labels = value in ("labels", b"labels")
                    if isinstance(value, str | bytes | bytearray) and len(value) == rows * pixels:
                        # Python 2's strings, which the released files hold, come decoded as Latin-1: one byte each.
                        image_bytes = value.encode("latin-1") if isinstance(value, str) else bytes(value)
    except ValueError as error:  # what genops raises for anything that is not a pickle, and encode for other text
        raise not_a(path, f"{expected} ({error})") from error
    if image_bytes is None or len(labels) != rows or not all(0 <= label <= 255 for label in labels):
        raise CorruptFileError(f"{path.name} is a pickle, but not of {rows} images of {pixels} bytes and their labels")
    return np.frombuffer(image_bytes, np.uint8).reshape(rows, pixels), np.array(labels, np.uint8)
