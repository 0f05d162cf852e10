"""Poisoned points to look at: what they were made from, and how far they are from it. Arrays alone, no drawing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
"""(height, width, channels), 1 or 3 channels, pixels in [0, 1]."""

_FACTORS = (0.5, 0.6, 0.8, *(mantissa * 10.0**power for power in range(5) for mantissa in (1, 1.5, 2, 3, 4, 5, 6, 8)))


@dataclass(frozen=True)
class Exhibit:
    """One poisoned point.

    Attributes:
        poisoned: the image.
        label: its label.
        clean: the image it was made from; None if it was made from nothing.
        clean_label: that image's label.
    """

    poisoned: Image
    label: int
    clean: Image | None = None
    clean_label: int | None = None

    @property
    def distance(self) -> float | None:
        """L∞ distance of the two images."""
        return None if self.clean is None else float(np.abs(self.poisoned - self.clean).max())

    @property
    def labels(self) -> str:
        """The label, or the source's and its own where they differ."""
        return str(self.label) if self.clean_label in (None, self.label) else f"{self.clean_label} → {self.label}"


def amplification(exhibits: Sequence[Exhibit]) -> float:
    """The largest round number, 0.5 at least, at which no difference leaves [−0.5, 0.5]; 1 if there is none to show."""
    largest = max((exhibit.distance or 0.0 for exhibit in exhibits), default=0.0)
    if largest == 0:
        return 1.0
    return max((factor for factor in _FACTORS if factor * largest <= 0.5 * (1 + 1e-6)), default=_FACTORS[0])


def difference(exhibit: Exhibit, factor: float) -> Image | None:
    """0.5 + factor · (poisoned − clean), so that mid-grey is no change; None without a source."""
    if exhibit.clean is None:
        return None
    shown: Image = np.clip(0.5 + factor * (exhibit.poisoned - exhibit.clean), 0, 1).astype(np.float32)
    return shown


def enlarged(image: Image, scale: int) -> Image:
    """Each pixel a square of scale × scale equal ones: what a viewer enlarges itself, it blurs."""
    found: Image = image.repeat(scale, 0).repeat(scale, 1)
    return found


def distance_text(distance: float | None) -> str:
    """A distance as captions show it."""
    if distance is None:
        return "–"
    return f"{distance:.3f}" if distance >= 0.001 else f"{distance:.1g}"
