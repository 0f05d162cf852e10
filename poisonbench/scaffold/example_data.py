"""Example arrays for a dataset's plugin, so that it runs as written: noisy patterns of four classes."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import numpy as np

CLASSES, SIDE = 4, 8
N_TRAIN, N_TEST = 600, 200


def arrays() -> dict[str, Any]:
    """Grey images of 8 × 8 in bytes and their labels: x_train, y_train, x_test, y_test."""
    draw = np.random.default_rng(0)
    pattern = draw.integers(0, 256, (CLASSES, SIDE, SIDE))
    found: dict[str, Any] = {}
    for part, n in (("train", N_TRAIN), ("test", N_TEST)):
        y = np.arange(n) % CLASSES
        noise = draw.integers(0, 256, (n, SIDE, SIDE))
        found |= {f"x_{part}": ((pattern[y] + 3 * noise) // 4).astype(np.uint8), f"y_{part}": y.astype(np.uint8)}
    return found


def sha256(found: dict[str, Any]) -> str:
    """The hash that the template's `read` makes of them."""
    digest = hashlib.sha256()
    for name, array in found.items():
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode() + array.tobytes())
    return digest.hexdigest()


def npz(found: dict[str, Any]) -> bytes:
    """They as a file."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **found)
    return buffer.getvalue()
