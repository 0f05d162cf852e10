"""A few of a record's points as a small picture for its page, made without matplotlib."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image as Picture

from poisonbench.leaderboard.images.exhibits import Exhibit, Image, amplification, difference, distance_text, enlarged

LARGEST = 3
"""Points with the largest perturbation; they come first."""

MEDIAN = 3
"""Points around the median perturbation, after them."""

_SIDE = 96
"""An image is enlarged by the largest whole number that keeps it within so many dots."""

_GAP = 6
"""Between images, where the page is seen through."""


def png(exhibits: Sequence[Exhibit]) -> bytes:
    """A PNG file: a column each point; clean, poisoned and amplified difference one below the other.

    A point made from nothing has its poisoned image alone. Pixels stay squares of equal pixels; the same exhibits give
    the same bytes.

    Args:
        exhibits: at least one, at most LARGEST + MEDIAN of them, all images of one shape.
    Cost: about 5 ms.
    """
    if not 1 <= len(exhibits) <= LARGEST + MEDIAN:
        raise ValueError(f"expected 1 to {LARGEST + MEDIAN} points, got {len(exhibits)}")
    factor = amplification(exhibits)
    rows, across, _ = exhibits[0].poisoned.shape
    scale = max(1, _SIDE // max(rows, across))
    tall, wide = rows * scale + _GAP, across * scale + _GAP
    dots = np.zeros((3 * tall - _GAP, len(exhibits) * wide - _GAP, 4), dtype=np.uint8)  # clear
    for column, exhibit in enumerate(exhibits):
        for row, image in enumerate((exhibit.clean, exhibit.poisoned, difference(exhibit, factor))):
            if image is not None:
                place = dots[row * tall :, column * wide :][: rows * scale, : across * scale]
                place[..., :3], place[..., 3] = enlarged(_bytes(image), scale), 255
    file = io.BytesIO()
    Picture.fromarray(dots).save(file, "png")
    return file.getvalue()


def caption(exhibits: Sequence[Exhibit]) -> str:
    """What the picture shows, in a few words; exhibits: as `PoisonImages.key_exhibits` chooses them."""
    labels = ", ".join(map(_label, exhibits))
    if all(one.clean is None for one in exhibits):
        return f"Points made from nothing, in the attack's own order. Labels: {labels}."
    parts = [("the largest perturbations", exhibits[:LARGEST]), ("those around the median", exhibits[LARGEST:])]
    points = "; ".join(
        f"{which} (L∞ {', '.join(distance_text(one.distance) for one in some)})" for which, some in parts if some
    )
    rows = f"Clean, poisoned, difference × {amplification(exhibits):g} around mid-grey, from top to bottom"
    return f"{rows}. Points: {points}. Labels: {labels}."


def _label(exhibit: Exhibit) -> str:
    kept = exhibit.clean_label in (None, exhibit.label)
    return str(exhibit.label) if kept else f"{exhibit.clean_label} → {exhibit.label}"


def _bytes(image: Image) -> Image:
    """An image, (height, width, 1 or 3) in [0, 1], as bytes 0 … 255."""
    found: Image = np.rint(255 * np.clip(image, 0, 1))
    return found
