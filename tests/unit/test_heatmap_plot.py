"""The heat map: each cell its own number, readable, on a scale whose middle is no drop."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from poisonbench.leaderboard.boards import Board, boards
from poisonbench.leaderboard.plots.figures import SITE, drawing
from poisonbench.leaderboard.plots.heatmap import attacks, caption, defenses, describe
from poisonbench.leaderboard.plots.heatmap_figure import _on, draw, figure
from poisonbench.store.record import Record

Seeds = Callable[..., list[Record]]


def styled(board: Board) -> Figure:
    with drawing():
        return figure(board)


def cells(drawn: Figure) -> dict[tuple[int, int], tuple[Rectangle, str]]:
    """By row and column, the patch and its text."""
    axis = drawn.axes[0]
    texts = {(int(text.get_position()[1]), int(text.get_position()[0])): text.get_text() for text in axis.texts}
    patches = {
        (int(patch.get_y()), int(patch.get_x())): patch for patch in axis.patches if isinstance(patch, Rectangle)
    }
    return {place: (patch, texts.get(place, "")) for place, patch in patches.items()}


@pytest.fixture
def board(seeds: Seeds, planted: Callable[..., Record]) -> Board:
    records = [
        *seeds("weak", [1.0, 1.0, 1.3]),
        *seeds("strong", [8.0, 9.0, 10.0]),
        *seeds("strong", [-2.0, -3.0, -1.0], defense="sever"),
        *seeds("weak", [0.5, 0.7], defense="sever"),
        *seeds("strong", [4.0, 4.0, 4.0], defense="loss"),
        planted("weak", None, 0, defense="loss"),
        planted("weak", 60.0, 0, defense="knn", protocol={**planted().document()["protocol"], "deviations": ["x"]}),
    ]
    (found,) = boards(records)
    return found


def test_rows_and_columns_stand_as_on_the_board(board: Board) -> None:
    assert attacks(board) == ["strong", "weak"]
    assert defenses(board) == [
        "none",
        "sever",
        "loss",
        "knn",
    ]  # the others have too few seeds, or have not faced everyone
    axis = styled(board).axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == attacks(board)
    assert [label.get_text() for label in axis.get_xticklabels()] == defenses(board)
    assert describe(board).endswith("from −2.00 points (strong against sever) to 9.00 (strong against none).")


def test_defenses_with_trusted_data_are_the_last_columns(seeds: Seeds, board: Board) -> None:
    detail = {"defense_detail": {"removed": 3, "trusted": 13}}
    (found,) = boards([*seeds("a", [3.0]), *seeds("a", [1.0], defense="knows", **detail)])
    assert defenses(found) == ["none", "knows"]
    assert "columns: best defense first, those with trusted data last" in caption(found)
    assert "trusted" not in caption(board)


def test_every_cell_has_its_number_or_says_why_not(board: Board) -> None:
    texts = {place: text for place, (_, text) in cells(styled(board)).items()}
    assert texts == {
        (0, 0): "9.00\n± 1.00", (0, 1): "−2.00\n± 1.00", (0, 2): "4.00\n± 0.00", (0, 3): "",
        (1, 0): "1.10\n± 0.17", (1, 1): "0.60\n± 0.14\nn = 2", (1, 2): "failed", (1, 3): "unranked",
    }  # fmt: skip
    hatched = {place for place, (patch, _) in cells(styled(board)).items() if patch.get_hatch()}
    assert hatched == {(0, 3)}
    assert "n = 3 seeds" in styled(board).texts[1].get_text()
    assert "hatched: no record" in styled(board).texts[1].get_text()


def test_colours_are_even_on_both_sides_of_no_drop(board: Board) -> None:
    found = cells(styled(board))
    wanted = {(0, 0): 9.0, (0, 1): -2.0, (1, 0): 1.1}
    for place, drop in wanted.items():
        expected = colormaps["RdBu_r"]((drop + 9) / 18)
        assert found[place][0].get_facecolor() == pytest.approx(expected, abs=0.01)


@given(st.tuples(*[st.floats(0, 1)] * 3))
@settings(deadline=None, max_examples=200)
def test_the_number_is_readable_on_any_colour(ground: tuple[float, float, float]) -> None:
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in ground]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    ink = 1.0 if to_rgb(_on(ground)) == (1, 1, 1) else 0.0
    light, dark = max(luminance, ink), min(luminance, ink)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (26, 3), (3, 12)])
def test_texts_are_apart_and_on_the_page(seeds: Seeds, rows: int, columns: int) -> None:
    names = ["none", *(f"spectral-signatures-{column}" for column in range(1, columns))]
    places = itertools.product(range(rows), names)
    records = [one for row, name in places for one in seeds(f"gradient-{row}", [-9.25, 74.5], defense=name)]
    if rows > 1:
        records = records[:-1]  # a cell of fewer seeds, which says so
    drawn = styled(boards(records)[0])
    FigureCanvasAgg(drawn).draw()
    axis = drawn.axes[0]
    ticks = [*axis.get_xticklabels(), *axis.get_yticklabels()]
    for text in [*ticks, *axis.texts, *drawn.texts]:
        box = text.get_window_extent()
        assert drawn.bbox.x0 <= box.x0 < box.x1 <= drawn.bbox.x1 + 1
        assert drawn.bbox.y0 <= box.y0 < box.y1 <= drawn.bbox.y1 + 1
    for text in axis.texts:
        x, y = text.get_position()
        (left, top), (right, bottom) = axis.transData.transform([(x - 0.5, y - 0.5), (x + 0.5, y + 0.5)])
        box = text.get_window_extent()
        assert left <= box.x0 < box.x1 <= right
        assert bottom <= box.y0 < box.y1 <= top
    assert min(text.get_fontsize() for text in [*ticks, *axis.texts, *drawn.texts]) >= 7


def test_the_same_board_gives_the_same_bytes_and_text_stays_text(seeds: Seeds) -> None:
    records = [*seeds("a", [1.0]), *seeds("a", [1.0], params={"x": "</svg><script>$"})]
    first, again = (draw(boards(records)[0], "svg", SITE) for _ in range(2))
    assert first == again
    assert b"a (x=&lt;/svg&gt;&lt;script&gt;$)" in first
    assert b"<script" not in first
