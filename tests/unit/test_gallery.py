"""The gallery's drawing: pixels that stay pixels, an honest difference, text that does not overlap."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image as Picture

from poisonbench.leaderboard.images.exhibits import Exhibit, Image, amplification, difference
from poisonbench.leaderboard.images.gallery import _lines, draw, figure
from poisonbench.leaderboard.plots.figures import FORMATS, drawing


def image(shape: tuple[int, int, int] = (8, 8, 1), seed: int = 0) -> Image:
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def moved(by: float, shape: tuple[int, int, int] = (8, 8, 1), label: int = 3, clean_label: int = 3) -> Exhibit:
    """Pixels in [0.4, 0.6], half of them `by` further up or down."""
    clean = 0.4 + 0.2 * image(shape)
    signs = np.sign(image(shape, 1) - 0.5).astype(np.float32)
    return Exhibit(clean + np.float32(by) * signs, label, clean, clean_label)


def test_a_pixel_is_a_square_of_equal_pixels() -> None:
    """One image of 4×4 pixels is 0.8 inches of 400 dots wide at most: 80×80 dots a pixel."""
    poisoned = np.full((4, 4, 3), 0.5, dtype=np.float32)
    poisoned[1, 2] = (1, 0, 128 / 255)
    file = draw([Exhibit(poisoned, 0)], ["title"], [], "png")
    dots = np.asarray(Picture.open(io.BytesIO(file)).convert("RGB"))
    found = np.argwhere((dots == (255, 0, 128)).all(-1))
    assert len(found) == 80 * 80
    assert (found.max(0) - found.min(0) == 79).all()


@pytest.mark.parametrize("format_", FORMATS)
def test_the_same_exhibits_give_the_same_bytes(format_: str) -> None:
    first, again = (draw([moved(0.1)], ["a", "b"], ["c"], format_) for _ in range(2))
    assert first == again
    assert first.startswith({"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[format_])


def test_a_figure_is_as_wide_as_a_page() -> None:
    for count in (1, 10, 11):
        picture = Picture.open(io.BytesIO(draw([moved(0.1)] * count, ["title"], [], "png")))
        assert picture.width == 2600
        assert picture.info["dpi"][0] == pytest.approx(400, abs=0.1)


@pytest.mark.parametrize(
    ("by", "factor"), [(0.4, 1.0), (8 / 255, 15.0), (0.25, 2.0), (0.05, 10.0), (0.001, 500.0), (0.0, 1.0)]
)
def test_the_amplification_is_the_largest_that_fits(by: float, factor: float) -> None:
    exhibit = moved(by)
    assert amplification([exhibit, moved(by / 2)]) == factor
    shown = difference(exhibit, factor)
    assert shown is not None
    assert exhibit.clean is not None
    np.testing.assert_allclose(shown, 0.5 + factor * (exhibit.poisoned - exhibit.clean), atol=1e-3)


def test_no_change_is_mid_grey_and_the_whole_range_fits() -> None:
    black, white = np.zeros((2, 2, 1), np.float32), np.ones((2, 2, 1), np.float32)
    assert amplification([Exhibit(white, 0, black, 0)]) == 0.5
    shown = [difference(Exhibit(made, 0, clean, 0), 0.5) for clean, made in ((black, white), (white, black))]
    assert [float(part.mean()) for part in shown if part is not None] == [1.0, 0.0]
    same = difference(Exhibit(white, 0, white, 0), 1.0)
    assert same is not None
    assert (same == 0.5).all()


def test_a_point_made_from_nothing_says_so() -> None:
    exhibit = Exhibit(image(), 4)
    assert (exhibit.distance, exhibit.labels, difference(exhibit, 1.0)) == (None, "4", None)
    assert amplification([exhibit]) == 1.0
    words = [text.get_text() for text in figure([exhibit], ["title"], ["notes"]).axes[0].texts]
    assert "none" in words
    assert words[-2:] == ["4", "–"]


def test_captions() -> None:
    exhibits = [moved(0.1), moved(0.1, label=6), moved(0.0), Exhibit(image() / 2 + 3e-4, 0, image() / 2, 0)]
    words = [text.get_text() for text in figure(exhibits, ["title"], ["notes"]).axes[0].texts]
    for caption in ("3", "3 → 6", "0.100", "0", "0.0003"):
        assert caption in words


@pytest.mark.parametrize("count", [1, 10, 12, 41])
@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (32, 32, 3), (64, 48, 3)], ids=str)
def test_no_text_overlaps_another_or_leaves_the_page(count: int, shape: tuple[int, int, int]) -> None:
    exhibits = [Exhibit(image(shape), 10, image(shape, 1), 99), Exhibit(image(shape), 10)] * count
    title = ["gradient-canceling", "cifar10-unlearnable-v1", "resnet18", "crafted on cifar-cnn", "ε = 0.03", "seed 100"]
    notes = ["100 of 35000 points, largest L∞ distance first", "L∞ ≤ 0.0314", "difference × 0.5 around mid-grey"]
    with drawing():
        drawn = figure(exhibits[:count], title, notes)
    renderer = FigureCanvasAgg(drawn).get_renderer()
    page = drawn.bbox
    boxes = [text.get_window_extent(renderer) for text in drawn.axes[0].texts]
    for box in boxes:
        assert page.x0 <= box.x0
        assert box.x1 <= page.x1
        assert page.y0 <= box.y0
        assert box.y1 <= page.y1
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)
    for picture in drawn.axes[0].images:
        box = picture.get_window_extent(renderer)
        assert page.x0 <= box.x0
        assert box.x1 <= page.x1


def test_lines_break_between_parts() -> None:
    assert _lines(["one two", "three", "four five"], 18) == [
        "one\N{NO-BREAK SPACE}two\N{NO-BREAK SPACE}· three",
        "four\N{NO-BREAK SPACE}five",
    ]
