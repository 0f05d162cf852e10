"""Certificates of a board: what is taken from records, how it is drawn, and where the site shows it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from poisonbench.leaderboard.boards import boards
from poisonbench.leaderboard.plots import certified_figure
from poisonbench.leaderboard.plots.certified import Certificates, certificates
from poisonbench.leaderboard.plots.figures import SITE, drawing
from poisonbench.leaderboard.site.build import Sources, build
from poisonbench.leaderboard.values import VALUES
from poisonbench.store.record import Record
from poisonbench.store.record_results import Certified, Metrics

Planted = Callable[..., Record]
FIRST = Certified(rows=(0, 3, 9), accuracy=(80.0, 60.0, 0.0))
SECOND = Certified(rows=(0, 4, 9, 12), accuracy=(84.0, 50.0, 20.0, 0.0))

LITTLE = Certified(rows=(0, 2), accuracy=(40.0, 0.0))


def proving(curve: Certified, padded: float = 88.0) -> dict[str, Any]:
    metrics = Metrics.of(90.0, 85.0, acc1_defended=curve.accuracy[0], acc1_padded=padded, certified=curve)
    return {"metrics": metrics}


@pytest.fixture
def records(planted: Planted) -> list[Record]:
    """Two attacks against one defense that proves something, of two seeds, and one that proves less, of one."""
    threat = {**planted().document()["threat"], "n_poison": 7}
    return [
        planted("tgda", seed=0, defense="dpa", threat=threat, **proving(FIRST)),
        planted("tgda", seed=1, defense="dpa", threat=threat, **proving(SECOND, 92.0)),
        planted("emn", seed=0, defense="dpa", threat=threat, **proving(FIRST)),
        planted(
            "emn",
            seed=0,
            defense="finite-aggregation",
            threat=threat,
            **proving(Certified(rows=(0, 2), accuracy=(40.0, 0.0))),
        ),
        planted("emn", seed=0, defense="sever", threat=threat),
    ]


def of(records: list[Record]) -> Certificates:
    (board,) = boards(records)
    found = certificates(board)
    assert found is not None
    return found


def test_each_seed_counts_once_whatever_the_attack(records: list[Record]) -> None:
    found = of(records)
    best, other = found.proofs  # what proves more comes first
    assert (best.defense, best.rows, best.accuracy) == (
        "dpa",
        (0, 3, 4, 9, 12),
        ((80.0, 60.0, 60.0, 0.0, 0.0), (84.0, 84.0, 50.0, 20.0, 0.0)),
    )
    assert best.mean == (82.0, 72.0, 55.0, 10.0, 0.0)
    assert [best.at(rows).mean for rows in (0, 2, 3, 8, 9, 99)] == [82.0, 82.0, 72.0, 55.0, 10.0, 0.0]
    assert best.half == 8
    assert (other.defense, other.half) == ("finite-aggregation", None)
    assert (found.clean, found.budget, found.reach) == (90.0, 7, 12)
    assert found.milestones == (1, 2, 5, 10)
    assert not found.out_of_reach
    assert found.only("dpa").proofs == (best,)


def test_what_is_not_ranked_proves_nothing_here(planted: Planted) -> None:
    protocol = {**planted().document()["protocol"], "deviations": ["x"]}
    (board,) = boards([planted(defense="dpa", protocol=protocol, **proving(FIRST)), planted()])
    assert certificates(board) is None


def test_a_row_that_is_perturbed_is_taken_and_added(planted: Planted) -> None:
    threat = {**planted().document()["threat"], "n_poison": 3}
    added = planted(defense="dpa", threat=threat, **proving(FIRST))
    perturbed = planted(defense="dpa", threat={**threat, "mode": "perturbation"}, **proving(SECOND))
    assert VALUES["certified"].of(added) == 60.0
    assert VALUES["certified"].of(perturbed) == 50.0
    assert of([perturbed]).budget == 6


def test_a_step_line_with_the_band_of_the_seeds_and_the_attack_s_rows(records: list[Record]) -> None:
    found = of(records)
    with drawing():
        figure = certified_figure.figure(found)
    (axis,) = figure.axes
    lines = {tuple(line.get_xdata()): line for line in axis.get_lines()}
    steps = next(line for x, line in lines.items() if x[:5] == (0, 3, 4, 9, 12))
    assert steps.get_drawstyle() == "steps-post"
    assert [*steps.get_ydata()] == [82.0, 72.0, 55.0, 10.0, 0.0, 0.0]
    (band,) = axis.collections  # of the defense with two seeds
    heights = band.get_paths()[0].vertices
    assert {y for x, y in heights if 4 < x < 9} <= {50.0, 60.0}
    assert [line for line in axis.get_lines() if [*line.get_ydata()] == [90.0, 90.0]]
    assert [line for line in axis.get_lines() if [*line.get_xdata()] == [7, 7]]
    assert "n = 1 to 2 seeds" in figure.get_suptitle()
    words = certified_figure.describe(found)
    assert "dpa proves 82.00 percent without any, 55.00 against the attack's 7, and half up to 8;" in words
    assert certified_figure.draw(found, "svg", SITE) == certified_figure.draw(found, "svg", SITE)


def test_rows_far_off_are_an_arrow(planted: Planted) -> None:
    threat = {**planted().document()["threat"], "n_poison": 1234}
    with drawing():
        (axis,) = certified_figure.figure(of([planted(defense="dpa", threat=threat, **proving(FIRST))])).axes
    assert axis.get_xlim()[1] < 10
    assert [text.get_text() for text in axis.texts] == ["the attack's 1,234 rows →"]


def test_pages_show_it_where_there_is_one(
    records: list[Record], planted: Planted, tmp_path: Path, record_pages: Callable[[Path], dict[str, str]]
) -> None:
    other = planted(defense="dpa", model={"name": "nn", "version": 1, "n_params": 1})
    site = build(Sources([*records, other]), tmp_path / "site").parent

    def said(path: str) -> str:
        return (site / path).read_text("utf-8")

    board = said("boards/digits-v1-lr-0.03.html")
    section = board[board.index('id="certified"') :]
    row = re.search(r"<tr><th scope=\"row\"><a href=\"../defenses/dpa.html\">dpa</a></th>\n((?:<td.*\n?)+)", section)
    assert row
    cells = re.findall(r">([^<]*)</td>", row[1])
    assert [cell.split(" ")[0] for cell in cells] == ["82.00", "82.00", "82.00", "55.00", "10.00", "55.00", "8"]
    assert "accuracy is 90.00, of which nothing is proven" in board
    assert "finite-aggregation proves 40.00 percent" in board
    assert "Certified" not in said("boards/digits-v1-nn-0.03.html")
    own = said("defenses/dpa.html")
    assert "dpa proves 82.00 percent" in own
    assert "finite-aggregation proves" not in own
    assert "Certified accuracy" not in said("defenses/sever.html")
    shown = record_pages(site)
    page = shown[records[0].record_id]
    assert 'd="M0,20H3V40H9V100H' in page
    assert "60.00 against the attack’s 7" in page
    assert "<dt>certified against 7 rows</dt><dd>60.00 %</dd>" in page
    assert "Certified accuracy" not in shown[records[-1].record_id]
