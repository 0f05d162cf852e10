"""Tables, values and curves from records whose means are known."""

import json
from pathlib import Path
from typing import Any

import pytest
from matplotlib.container import ErrorbarContainer

from poisonbench.errors import UnknownNameError
from poisonbench.identity.versions import current
from poisonbench.leaderboard.experiments import experiments
from poisonbench.leaderboard.plots import fraction_figure
from poisonbench.leaderboard.plots.figures import drawing
from poisonbench.leaderboard.plots.fraction import Removal, curves
from poisonbench.leaderboard.statistics.intervals import Random, Spread
from poisonbench.leaderboard.statistics.summaries import summary
from poisonbench.leaderboard.tables.pivot import Table, pivot
from poisonbench.leaderboard.tables.shapes import Shape
from poisonbench.leaderboard.tables.sheet_markdown import markdown
from poisonbench.leaderboard.tables.texts import sheet
from poisonbench.leaderboard.values import VALUES, value
from poisonbench.store.record import Record
from poisonbench.store.record_results import Metrics
from poisonbench.store.tables import row_of

FIXTURE = Path(__file__).with_name("test_store_record_v5.json")


def record(
    seed: int, acc2: float, defense: str = "loss", fraction: float | None = 0.03, day: int = 1, **changes: Any
) -> Record:
    """acc1 = 90, acc2 without the defense 80, defense alone 89; 1006 + 30 rows; half of the removed rows are poison."""
    fields = json.loads(FIXTURE.read_text("utf-8"))
    fields.pop("record_id")
    params = {} if fraction is None else {"fraction": fraction, "rounds": 1}
    removed = round((fraction or 0.0) * 1036)
    return Record.create(
        **{
            **fields,
            "cell_hash": f"{seed:032x}{int(1000 * (fraction or 0)):032x}",
            "attack": {**fields["attack"], "version": str(current("attack", fields["attack"]["name"]))},
            "defense": {**fields["defense"], "name": defense, "params": params},
            "seeds": {**fields["seeds"], "run": seed},
            "metrics": Metrics.of(90.0, acc2, 80.0, 89.0),
            "defense_detail": {"removed": removed, "precision": 0.5, "recall": fraction} if fraction else None,
            "finished_at": f"2026-01-{day:02d}T00:00:00Z",
            "protocol": {**fields["protocol"], "locked": True, "deviations": []},
            **changes,
        }
    )


def tables(records: list[Record], name: str) -> list[Table]:
    """The tables of records, attacks by defenses, by their rows in the store's table."""
    of = value(name)
    by_id = {record.record_id: of.of(record) for record in records}
    rows = [row_of(record) for record in records]
    for row in rows:
        assert of.column is None or getattr(row, of.column) == by_id[row.record_id]
    return pivot(rows, {name: lambda row: by_id[row.record_id]}, Shape(values=(name,)))


def test_a_table_is_the_mean_over_seeds_of_the_latest_ranked_records() -> None:
    unranked = {**record(0, 1.0).document()["protocol"], "deviations": ["recipe.epochs: 100 → 1"]}
    (found,) = tables(
        [
            record(0, 50.0, day=1),
            record(0, 82.0, day=2),  # supersedes the one above
            record(1, 84.0),
            record(2, 10.0, protocol=unranked),
            record(0, 79.0, "none", None),
            record(3, 0.0, status="failed", error="boom", metrics=None),
        ],
        "drop",
    )
    assert (found.counted, found.unranked, found.failed) == (3, 1, 1)
    shown = markdown(sheet(found))
    assert (
        "**digits-v1 · lr · ε = 0.03 · accuracy drop in points, mean ± std (seeds); left out: 1 unranked, 1 failed**"
        in shown
    )
    assert "| attack | none | loss |" in shown
    assert "| tgda | 11.00 (1) | 7.00 ± 1.41 (2) |" in shown


@pytest.mark.parametrize(
    ("name", "expected"),
    [("drop", 6.0), ("saved", 4.0), ("clean-cost", 1.0), ("precision", 0.5), ("recall", 0.25), ("removed", 259.0)],
)
def test_values(name: str, expected: float) -> None:
    (found,) = tables([record(0, 84.0, fraction=0.25)], name)
    (cell,) = found.measured.values()
    assert cell.summary.mean == expected
    assert VALUES[name].heading in markdown(sheet(found))


def test_a_value_that_a_record_has_not_is_left_open() -> None:
    (found,) = tables([record(0, 84.0, "none", None)], "recall")
    assert not found.measured
    assert "| No ranked record has such a value. |" in markdown(sheet(found))
    with pytest.raises(UnknownNameError, match="Did you mean 'recall'"):
        value("recal")


def test_settings_that_differ_are_columns_of_their_own() -> None:
    (found,) = tables([record(0, 84.0, fraction=0.03), record(0, 86.0, fraction=0.1)], "drop")
    assert sheet(found).headings == ("attack", "loss\n(fraction=0.03)", "loss\n(fraction=0.1)")


def test_curves_put_fractions_in_order_and_seeds_together() -> None:
    records = [
        record(0, 84.0, fraction=0.1),
        record(1, 86.0, fraction=0.1),
        record(0, 99.0, fraction=0.03, day=1),
        record(0, 82.0, fraction=0.03, day=2),
        record(0, 85.0, "sever", 0.03),
        record(0, 79.0, "none", None),
    ]
    (found,) = curves(records)
    assert found.undefended == 10.0
    assert list(found.by_defense) == ["loss", "sever"]
    low, high = found.by_defense["loss"]
    assert low == Removal(31 / 1036, Spread(summary([8.0]), None), 1.0, 0.03, 0.5)
    assert high == Removal(104 / 1036, Spread(summary([6.0, 4.0]), Random.SEEDS), 1.0, pytest.approx(0.1), 0.5)
    assert curves([record(0, 79.0, "none", None)]) == []


def test_the_bars_of_a_fraction_are_the_intervals_of_boards(seeds: Any) -> None:
    """Two-way where records have answers, as the legend says."""
    removed = {"defense_detail": {"removed": 30, "precision": 0.5, "recall": 0.5}, "defense": "loss"}
    answered, alone = seeds("tgda", [1.0, 2.0, 4.0], **removed), seeds("emn", [1.001, 2.001, 4.001], **removed)
    (one,) = experiments(answered)
    found = curves([*answered, *alone])
    spreads = {curve.title.split(" ")[0]: curve.by_defense["loss"][0].drop for curve in found}
    assert one.drop is not None
    assert spreads["tgda"] == Spread(one.drop, Random.SEEDS_AND_IMAGES)
    drops = [one.metrics.drop for one in alone]
    assert spreads["emn"] == Spread(summary(drops), Random.SEEDS)
    words = {"tgda": "for other seeds and test images", "emn": "over seeds alone (Student's t)"}
    for curve in found:
        with drawing():
            drawn = fraction_figure.figure([curve])
        random = words[curve.title.split(" ")[0]]
        assert f"bars: 95 % intervals {random}" in [text.get_text() for text in drawn.legends[0].get_texts()]
        (bar,) = (bar for bar in drawn.axes[0].containers if isinstance(bar, ErrorbarContainer))
        (segment,) = bar.lines[2][0].get_segments()
        assert segment[:, 1].tolist() == pytest.approx(list(curve.by_defense["loss"][0].drop.summary.interval or ()))


@pytest.mark.parametrize("count", [1, 5])
def test_the_same_curves_give_the_same_bytes(count: int) -> None:
    records = [
        record(0, 84.0, fraction=fraction, attack={**record(0, 1.0).document()["attack"], "name": f"a{index}"})
        for index in range(count)
        for fraction in (0.03, 0.1)
    ]
    first, again = (fraction_figure.draw(curves(records), "svg") for _ in range(2))
    assert first == again
    assert first.startswith(b"<?xml")
    assert fraction_figure.draw(curves(records), "png").startswith(b"\x89PNG")
