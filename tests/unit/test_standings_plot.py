"""Standings: every seed, its mean and interval, ranks, and what has no number."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from poisonbench.leaderboard.boards import Board, boards
from poisonbench.leaderboard.plots.figures import SITE, drawing
from poisonbench.leaderboard.plots.standings import describe
from poisonbench.leaderboard.plots.standings_figure import draw, figure
from poisonbench.store.record import Record

Seeds = Callable[..., list[Record]]


def styled(board: Board) -> Figure:
    with drawing():
        return figure(board)


@pytest.fixture
def board(seeds: Seeds, planted: Callable[..., Record]) -> Board:
    rules = planted().document()["protocol"]
    records = [
        *seeds("strong", [8.0, 9.0, 10.0]),
        *seeds("weak", [1.0, 1.1, 0.9]),
        *seeds("few", [2.0, 3.0]),
        *seeds("bent", [70.0, 70.0, 70.0], protocol={**rules, "deviations": ["x"]}),
        planted("broken", None),
        *seeds("strong", [1.0, 2.0, 6.0], defense="sever"),
        *seeds("weak", [0.0, 0.0, 0.0], defense="sever"),
        *seeds("strong", [1.0, 2.0, 3.0], defense="loss"),
    ]
    (found,) = boards(records)
    return found


def rows(axis: Axes) -> list[list[str]]:
    """Rank, name and numbers of each row, as they stand."""
    texts = [text.get_text() for text in axis.texts]
    return [texts[first : first + 3] for first in range(0, len(texts), 3)]


def test_rows_are_in_the_order_of_the_board_with_rank_and_numbers(board: Board) -> None:
    attacks, defenses = styled(board).axes
    low, high = board.attacks[0].test.interval
    assert rows(attacks)[:2] == [["1", "strong", f"9.00 [{low:.2f}, {high:.2f}]"], ["2", "weak", "1.00 [0.32, 1.68]"]]
    assert sorted(rows(attacks)[2:]) == [
        ["–", "bent", "unranked"],
        ["–", "broken", "failed"],
        ["–", "few", "2.50 [−3.91, 8.91] 2 of 3 seeds, n = 2"],
    ]
    names = [name for _, name, _ in rows(defenses)]
    assert names == [standing.defense for standing in board.defenses]
    residuals = {name: numbers for _, name, numbers in rows(defenses)}
    assert residuals["sever"].startswith("1.50 [")  # over seeds of the mean of strong and weak: 0.5, 1, 3
    assert residuals["loss"] == "not against 1 of 2"
    assert describe(board).endswith(
        "9.00 points, strong; of defenses without trusted data sever leaves the least, 1.50 points."
    )


def test_every_seed_is_a_dot_and_the_interval_a_bar(board: Board) -> None:
    attacks, defenses = styled(board).axes
    dots = [sorted(line.get_xdata()) for line in attacks.get_lines() if line.get_marker() == "."]
    assert dots == [[8.0, 9.0, 10.0], pytest.approx([0.9, 1.0, 1.1]), [2.0, 3.0]]
    assert [0.5, 1.0, 3.0] in [sorted(line.get_xdata()) for line in defenses.get_lines() if line.get_marker() == "."]
    bars = [bar for bar in attacks.containers if isinstance(bar, ErrorbarContainer)]
    segments = [bar.lines[2][0].get_segments()[0][:, 0].tolist() for bar in bars]
    assert segments[0] == pytest.approx(list(board.attacks[0].test.interval))
    assert 70.0 not in [value for line in attacks.get_lines() for value in line.get_xdata()]


@pytest.mark.parametrize("count", [1, 30])
@pytest.mark.parametrize("label", ["short", "gradient-canceling-with-a-long-name-and-more-of-it-to-come"])
def test_columns_are_apart_and_on_the_page(seeds: Seeds, count: int, label: str) -> None:
    records = [
        one
        for k in range(count)
        for defense in ("none", "sever")
        for one in seeds(f"{label}-{k}", [-1.0 - k / 10, -8.25, 64.5], defense=defense)
    ]
    drawn = styled(boards(records)[0])
    FigureCanvasAgg(drawn).draw()
    for axis in drawn.axes:
        boxes = [text.get_window_extent() for text in axis.texts]
        inside = axis.get_window_extent()
        for first in range(0, len(boxes), 3):
            rank, name, numbers = boxes[first : first + 3]
            assert drawn.bbox.x0 <= rank.x0 < rank.x1 < name.x0 < name.x1 < inside.x0
            assert inside.x1 < numbers.x0 < numbers.x1 <= drawn.bbox.x1
        for above, below in zip(boxes[1::3], boxes[4::3], strict=False):
            assert above.y0 >= below.y1
        assert inside.width > 0.2 * drawn.bbox.width
    for text in drawn.texts:
        assert text.get_fontsize() >= 7
        assert drawn.bbox.y0 <= text.get_window_extent().y0 < text.get_window_extent().y1 <= drawn.bbox.y1


def test_what_is_left_of_the_worst_attack_is_a_triangle(board: Board) -> None:
    attacks, defenses = ([line for line in axis.get_lines() if line.get_marker() == "v"] for axis in styled(board).axes)
    assert attacks == []
    found = [float(line.get_xdata()[0]) for line in defenses]
    assert found == [one.worst.drop.mean for one in board.defenses if one.worst] == [3.0, 9.0]
    assert "▽ worst attack" in " ".join(text.get_text() for text in styled(board).texts)


def test_defenses_with_trusted_data_have_a_section_of_their_own(seeds: Seeds) -> None:
    records = [
        *seeds("a", [8.0, 9.0, 10.0]),
        *seeds("a", [1.0, 2.0, 3.0], defense="mine", defense_detail={"removed": 3, "trusted": 13}),
    ]
    drawn = styled(boards(records)[0])
    assert [[row[:2] for row in rows(axis)] for axis in drawn.axes] == [[["1", "a"]], [["1", "none"]], [["1", "mine"]]]
    headings = [text.get_text() for text in drawn.texts if text.get_weight() == "bold"]
    assert headings[1:] == [
        "defenses without trusted data, over 1 attack",
        "defenses with trusted data (13 rows), over 1 attack",
    ]


def test_attacks_alone_have_no_second_section(seeds: Seeds) -> None:
    assert len(styled(boards(seeds("a", [1.0]))[0]).axes) == 1


def test_the_same_board_gives_the_same_bytes_and_text_stays_text(seeds: Seeds) -> None:
    records = [*seeds("a", [1.0]), *seeds("a", [1.0], params={"x": "</svg><script>$"})]
    first, again = (draw(boards(records)[0], "svg", SITE) for _ in range(2))
    assert first == again
    assert b"&lt;/svg&gt;&lt;script&gt;$)" in first
    assert b"<script" not in first
