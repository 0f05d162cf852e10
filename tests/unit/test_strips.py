"""Strips of images: shapes side by side, pixels that stay pixels, numbers of all points, text that stays apart."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image as Picture

from poisonbench.cli.poison_images import PoisonImages
from poisonbench.leaderboard.images.exhibits import Exhibit, Image
from poisonbench.leaderboard.images.strips import Strip, draw, figure
from poisonbench.leaderboard.plots.figures import FORMATS, drawing
from poisonbench.problem.samples import PoisonSet, Samples

HOSTILE = "$x_1 <b>&amp; 50 % \\frac{ $"
"""As mathematics it would not parse."""
SHAPES = ((8, 8, 1), (28, 28, 1), (32, 32, 3))


def image(shape: tuple[int, int, int] = (8, 8, 1), seed: int = 0) -> Image:
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def strip(label: str, shape: tuple[int, int, int] = (8, 8, 1), count: int = 3, by: float = 0.1) -> Strip:
    """Pixels in [0.4, 0.6] moved up by that."""
    clean = 0.4 + 0.2 * image(shape)
    return Strip(label, [Exhibit(clean + np.float32(by), 3, clean, 3)] * count, [by] * 100)


def styled(*strips: Strip, title: str = "title", notes: tuple[str, ...] = ("note",)) -> Figure:
    with drawing():
        return figure(strips, [title], notes)


def words(drawn: Figure) -> list[str]:
    return [text.get_text() for text in drawn.axes[0].texts]


@pytest.mark.parametrize("format_", FORMATS)
def test_the_same_strips_give_the_same_bytes(format_: str) -> None:
    strips = [strip("a", count=1), Strip(HOSTILE)]
    first, again = (draw(strips, [HOSTILE, "b"], ["$\\", HOSTILE], format_) for _ in range(2))
    assert first == again
    assert first.startswith({"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[format_])
    if format_ == "svg":
        assert "<!-- $x_1 &lt;b&gt;&amp;amp; 50 % \\frac{ $ · b -->".encode() in first


def test_a_pixel_is_a_square_of_equal_pixels_in_every_strip() -> None:
    """Ten columns leave 171 dots for an image: 4×4 pixels of 42×42 dots, 5×5 of 34×34."""
    strips, sides = [], []
    for index, side in enumerate((4, 5)):
        poisoned = np.full((side, side, 3), 0.5, dtype=np.float32)
        poisoned[1, 2] = (1, 0, (128 + index) / 255)
        strips.append(Strip("x", [Exhibit(poisoned, 0)] + [Exhibit(poisoned * 0, 0)] * 9))
    dots = np.asarray(Picture.open(io.BytesIO(draw(strips, ["title"], [], "png"))).convert("RGB"))
    for index in range(2):
        found = np.argwhere((dots == (255, 0, 128 + index)).all(-1))
        assert (np.ptp(found, axis=0) == np.ptp(found, axis=0)[0]).all()
        sides.append(int(np.ptp(found, axis=0)[0]) + 1)
        assert len(found) == sides[-1] ** 2
    assert sides == [42, 34]
    assert dots.shape[1] == 2600


def test_images_are_enlarged_here_and_stand_on_whole_dots() -> None:
    """A viewer of a PDF would blur what it enlarges itself."""
    for picture in styled(*(strip("a", shape, 10) for shape in SHAPES)).axes[0].images:
        left, right, lower, upper = picture.get_extent()
        assert all(float(edge).is_integer() for edge in (left, right, lower, upper))
        assert np.asarray(picture.get_array()).shape[:2] == (lower - upper, right - left)


def test_the_numbers_are_of_all_points_not_of_those_shown() -> None:
    shown = strip("LR", by=0.25).exhibits
    found = words(styled(Strip("LR", shown, [0.25, 0.0005, 0.75, 0.5, 1.0])))
    assert "L∞ distance|median 0.500|largest 1.000|5 points" in "|".join(found)
    assert found.count("0.250") == 3


def test_a_strip_that_was_not_run_says_so() -> None:
    assert words(styled(Strip("LR"), strip("NN"))).count("not run") == 1
    assert words(styled(Strip("LR"))) == ["title", "note", "LR", "not run"]


def test_a_label_breaks_where_it_says() -> None:
    assert words(styled(Strip("LR\nTGDA")))[2:] == ["LR", "TGDA", "not run"]
    assert words(styled(Strip("")))[2:] == ["not run"]


def test_every_strip_has_an_amplification_of_its_own() -> None:
    found = words(styled(strip("a", by=0.25), strip("b", by=0.05)))
    assert [text for text in found if text.startswith("difference")] == ["difference\n× 2", "difference\n× 10"]
    pictures = [np.asarray(picture.get_array()) for picture in styled(strip("a", count=1, by=0.25)).axes[0].images]
    clean, poisoned, difference = (float(picture.mean()) for picture in pictures)
    assert poisoned == pytest.approx(clean + 0.25, abs=1e-5)
    assert difference == pytest.approx(1.0, abs=1e-5)


def test_labels_and_points_made_from_nothing() -> None:
    exhibits = [Exhibit(image(), 4), Exhibit(image(), 4, image(seed=1), 7)]
    found = words(styled(Strip("a", exhibits)))
    assert "none" in found
    assert "7 → 4" in found
    assert not [text for text in found if "median" in text]


@pytest.mark.parametrize("count", [1, 7, 23])
@pytest.mark.parametrize(
    "label", ["LR, with pretraining", "ResNet-18, without pretraining", HOSTILE, "no" * 150], ids=len
)
def test_no_text_overlaps_another_or_leaves_the_page(count: int, label: str) -> None:
    strips = [strip(label, shape, count) for shape in SHAPES]
    strips += [Strip(label), Strip(label, [Exhibit(image(), 10, image(seed=1), 99), Exhibit(image(), 3)])]
    drawn = styled(
        *strips, Strip(label), title=label, notes=(label, "A long sentence of what a reader must know. " * 4)
    )
    renderer = FigureCanvasAgg(drawn).get_renderer()
    texts = [text.get_window_extent(renderer) for text in drawn.axes[0].texts]
    pictures = [picture.get_window_extent(renderer) for picture in drawn.axes[0].images]
    for box in [*texts, *pictures]:
        assert drawn.bbox.x0 <= box.x0 < box.x1 <= drawn.bbox.x1
        assert drawn.bbox.y0 <= box.y0 < box.y1 <= drawn.bbox.y1
    boxes = np.array([box.extents for box in [*texts, *pictures]])
    low, high = boxes[:, None, :2], boxes[:, None, 2:]
    overlaps = ((low < boxes[None, :, 2:]) & (boxes[None, :, :2] < high)).all(-1)
    assert not (overlaps & ~np.eye(len(boxes), dtype=bool)).any()


def test_a_poison_sets_exhibits_and_distances() -> None:
    """Points moved by 0.1, 0.3, made from nothing, moved by 0.2; the sources are out of order."""
    clean, source = torch.tensor([0.4, 0.5, 0.6, 0.7]).view(4, 1, 1, 1).expand(4, 1, 2, 3), torch.tensor([3, 0, -1, 1])
    moved = torch.zeros(4, 1, 2, 3)
    moved[0, 0, 0, 0], moved[1, 0, 1, 2], moved[2], moved[3, 0, 0, 1] = 0.1, -0.3, 0.2, 0.2
    train = Samples(clean, torch.arange(4), torch.arange(4))
    images = PoisonImages(PoisonSet(clean[source] + moved, torch.tensor([9, 0, 8, 1]), source), train)
    assert len(images) == 4
    assert images.distances == pytest.approx([0.1, 0.3, 0.2])
    first, largest = images.exhibits("first", 9), images.exhibits("linf", 9)
    assert [exhibit.labels for exhibit in first] == ["3 → 9", "0", "8", "1"]
    assert [exhibit.labels for exhibit in largest] == ["0", "1", "3 → 9", "8"]
    assert first[2].clean is None
    assert first[0].poisoned.shape == (2, 3, 1)
    assert first[0].poisoned[0, 0, 0] == pytest.approx(0.8)
    assert first[1].poisoned[1, 2, 0] == pytest.approx(0.1)
    assert [exhibit.labels for exhibit in images.exhibits("linf", 2)] == ["0", "1"]
    assert [exhibit.distance for exhibit in first[:2]] == pytest.approx([0.1, 0.3])
