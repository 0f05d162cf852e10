"""What each test image adds to a record's accuracies, from the answers that the record has."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from poisonbench.store.record import Record


class Answered(NamedTuple):
    """Answers as they are stored: base64 of a bit for each test image, in canonical order.

    Attributes:
        clean: whether it was right before the attack.
        attacked: whether it was right after attack and defense.
        images: how many there are.
    """

    clean: str
    attacked: str
    images: int


SIGNS: Mapping[str, Mapping[str, float]] = {
    "acc1": {"clean": 1.0},
    "acc2": {"attacked": 1.0},
    "drop": {"clean": 1.0, "attacked": -1.0},
}
"""The values that are means over test images: of which answers, and with which sign."""


def answered(record: Record) -> Answered | None:
    """A record's answers; None for one that is older than they are, or failed."""
    metrics = record.metrics
    if metrics is None or metrics.answers is None:
        return None
    return Answered(metrics.answers.clean, metrics.answers.attacked, record.dataset.n_test)


def contribution(found: Answered, value: str) -> NDArray[np.float64]:
    """The points that each image adds to a value in SIGNS, (images,): the value is their mean."""
    parts = [sign * right(getattr(found, name), found.images) for name, sign in SIGNS[value].items()]
    return np.asarray(100.0 * sum(parts[1:], start=parts[0]), dtype=np.float64)


@lru_cache(maxsize=4096)
def right(bits: str, images: int) -> NDArray[np.int8]:
    """Whether each image was right, 0 or 1, (images,); not to be written to."""
    found = np.unpackbits(np.frombuffer(b64decode(bits), dtype=np.uint8), count=images).view(np.int8)
    found.flags.writeable = False
    return found
