"""A record's small picture: pixels that stay pixels, in three rows, and which points it shows."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image as Picture

from poisonbench.cli.poison_images import PoisonImages
from poisonbench.leaderboard.images.exhibits import Exhibit, Image
from poisonbench.leaderboard.images.thumbnails import caption, png
from poisonbench.problem.samples import PoisonSet, Samples


def exhibit(value: float, by: float, channels: int = 1, side: int = 8) -> Exhibit:
    clean = np.full((side, side, channels), value, dtype=np.float32)
    clean[0, 1] = 1 - by
    return Exhibit(clean + np.float32(by), 3, clean, 3)


def dots(*exhibits: Exhibit) -> Image:
    return np.asarray(Picture.open(io.BytesIO(png(exhibits))))


def test_rows_are_clean_poisoned_and_difference_and_a_pixel_a_square() -> None:
    found = dots(exhibit(0.2, 0.1), exhibit(0.4, 0.05))
    side = 8 * 12
    assert found.shape == (3 * (side + 6) - 6, 2 * (side + 6) - 6, 4)
    rows = [found[row * 102 : row * 102 + side, :side] for row in range(3)]
    assert [int(row[-1, -1, 0]) for row in rows] == [51, 76, 255]  # 0.2, 0.3, and 0.5 + 5 · 0.1
    assert [int(found[row * 102 + 95, 102 + 95, 0]) for row in range(3)] == [102, 115, 191]
    assert (rows[0][:12, 12:24, 0] == 230).all()
    assert (rows[0][:12, 24:36, 0] == 51).all()
    assert (rows[0][12:24, 12:24, 0] == 51).all()


def test_between_images_and_above_points_made_from_nothing_the_page_is_seen() -> None:
    found = dots(exhibit(0.2, 0.1), Exhibit(np.full((8, 8, 1), 0.6, dtype=np.float32), 1))
    alpha = found[..., 3]
    assert (alpha[:, 96:102] == 0).all()
    assert (alpha[96:102] == 0).all()
    assert (alpha[:96, 102:] == 0).all()
    assert (alpha[204:, 102:] == 0).all()
    assert (found[102:198, 102:] == (153, 153, 153, 255)).all()
    assert set(np.unique(alpha)) == {0, 255}


@pytest.mark.parametrize(("side", "channels"), [(8, 1), (28, 1), (32, 3), (224, 3)])
def test_any_shape_and_the_same_bytes(side: int, channels: int) -> None:
    points = [exhibit(0.1 * k, 0.01 * k, channels, side) for k in range(6)]
    assert png(points) == png(points)
    assert max(dots(*points).shape) < 6 * (max(96, side) + 6)


@pytest.mark.parametrize("count", [0, 7])
def test_how_many(count: int) -> None:
    with pytest.raises(ValueError, match=f"expected 1 to 6 points, got {count}"):
        png([exhibit(0.1, 0.1)] * count)


def test_the_caption_says_how_far_and_how_much_amplified() -> None:
    points = [exhibit(0.2, by) for by in (0.1, 0.09, 0.08, 0.05, 0.04)]
    assert caption(points) == (
        "Clean, poisoned, difference × 5 around mid-grey, from top to bottom. Points: the largest perturbations "
        "(L∞ 0.100, 0.090, 0.080); those around the median (L∞ 0.050, 0.040). Labels: 3, 3, 3, 3, 3."
    )
    assert "median" not in caption(points[:2])


def test_the_caption_tells_labels_that_were_changed_and_points_made_from_nothing() -> None:
    flipped, nothing = replace(exhibit(0.2, 0.0), label=6), Exhibit(np.ones((8, 8, 1), dtype=np.float32), 1)
    assert caption([exhibit(0.2, 0.1), flipped, nothing]).endswith(" (L∞ 0.100, 0, –). Labels: 3, 3 → 6, 1.")
    assert caption([nothing]) == "Points made from nothing, in the attack's own order. Labels: 1."


def images(*distances: float | None) -> PoisonImages:
    """One point each, moved that far; None is made from nothing."""
    n = len(distances)
    clean = torch.full((n, 1, 2, 2), 0.25)
    source = torch.tensor([-1 if by is None else row for row, by in enumerate(distances)])
    moved = torch.tensor([0.5 if by is None else by for by in distances]).view(n, 1, 1, 1)
    labels = torch.arange(n)
    return PoisonImages(PoisonSet(clean + moved, labels, source), Samples(clean, labels, labels))


def labels_of(found: PoisonImages, order: str, count: int) -> list[int]:
    return [one.label for one in found.exhibits(order, count)]


def test_orders() -> None:
    found = images(0.1, 0.5, 0.3, None, 0.2, 0.4)
    assert labels_of(found, "first", 2) == [0, 1]
    assert labels_of(found, "linf", 9) == [1, 5, 2, 4, 0, 3]
    assert labels_of(found, "median", 1) == [2]
    assert labels_of(found, "median", 3) == [5, 2, 4]
    assert labels_of(found, "median", 9) == labels_of(found, "linf", 9)


def test_a_thumbnail_shows_the_largest_and_then_those_around_the_median() -> None:
    found = images(*(k / 40 for k in range(21)))
    assert [one.label for one in found.key_exhibits()] == [20, 19, 18, 11, 10, 9]
    assert [one.label for one in images(0.1, 0.2).key_exhibits()] == [1, 0]
    assert [one.label for one in images(*[None] * 9).key_exhibits()] == [0, 1, 2, 3, 4, 5]


def test_it_needs_no_matplotlib() -> None:
    module, heavy = "poisonbench.leaderboard.images.thumbnails", {"matplotlib", "torch"}
    code = f"import sys, {module}; sys.exit(bool({heavy} & set(sys.modules)))"
    subprocess.run([sys.executable, "-P", "-c", code], check=True)
