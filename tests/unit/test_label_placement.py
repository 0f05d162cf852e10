"""Labels beside points: free, on the page, near."""

from __future__ import annotations

import itertools
import math

from hypothesis import given, settings
from hypothesis import strategies as st

from poisonbench.leaderboard.plots.label_placement import Box, place

PAGE = Box(0, 0, 6, 3)
_spots = st.lists(st.tuples(st.integers(20, 580), st.integers(20, 280)), min_size=1, max_size=12, unique=True)


@given(_spots)
@settings(deadline=None, max_examples=40)
def test_no_label_covers_another_or_a_point_or_leaves_the_page(found: list[tuple[int, int]]) -> None:
    points = [(x / 100, y / 100) for x, y in found]
    marks = [Box(x, y, x, y).grown(0.02) for x, y in points]
    sizes = [(0.4, 0.1)] * len(points)
    boxes = place(points, sizes, marks, PAGE, 0.06)
    for one, other in itertools.combinations(boxes, 2):
        assert not one.shared(other)
    for box in boxes:
        assert math.isclose(box.x1 - box.x0, 0.4)
        assert box.outside(PAGE) < 1e-9
        assert not any(box.shared(mark) for mark in marks)
    assert boxes == place(points, sizes, marks, PAGE, 0.06)


def test_alone_a_label_is_at_its_right_and_at_the_edge_at_its_left() -> None:
    ((middle,), (edge,)) = (place([(x, 1.0)], [(0.4, 0.1)], [], PAGE, 0.06) for x in (1.0, 5.9))
    assert (middle.x0, (middle.y0 + middle.y1) / 2) == (1.06, 1.0)
    assert math.isclose(edge.x1, 5.84)


def test_where_nothing_is_free_it_covers_the_least() -> None:
    full = [Box(0, 0, 6, 3)]
    (box,) = place([(3.0, 1.5)], [(0.4, 0.1)], full, PAGE, 0.06)
    assert box.outside(PAGE) == 0
