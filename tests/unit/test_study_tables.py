"""A study's table: every number against NumPy, SciPy and a hand; what is missing; and that it fits a terminal."""

from __future__ import annotations

import csv
import io
import json
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from scipy import stats

from poisonbench.cli.study_results import results as results_of
from poisonbench.leaderboard.studies.results import CLEAN, Entry, StudyResults, with_clean
from poisonbench.leaderboard.studies.tables import as_csv, sheet
from poisonbench.store.record import Record
from poisonbench.store.record_results import Metrics
from poisonbench.sweeps import study as studies
from poisonbench.terminal.sheet import terminal

FIELDS = json.loads(Path(__file__).with_name("test_store_record_v5.json").read_text("utf-8"))
FIELDS.pop("record_id")


def record(seed: int, acc1: float, acc2: float, attack_s: float | None = 2.5, **changes: Any) -> Record:
    timing = {**FIELDS["timing"], "attack_s": attack_s}
    metrics = Metrics.of(acc1, acc2, acc2_undefended=acc2 - 1.0, acc1_defended=acc1 - 0.5)
    seeds = {**FIELDS["seeds"], "run": seed}
    return Record.create(**{**FIELDS, "seeds": seeds, "metrics": metrics, "timing": timing, **changes})


def entry(row: str, column: str, accuracies: list[tuple[float, float]], **changes: Any) -> Entry:
    records = tuple(record(seed, *pair) for seed, pair in enumerate(accuracies))
    return Entry(**{"row": row, "column": column, "x": None, "records": records, **changes})


def table(*entries: Entry, shows: tuple[str, ...] = ("acc2", "drop"), **changes: Any) -> StudyResults:
    return StudyResults(**{"name": "t", "profile": "p", "title": "T", "shows": shows, "entries": entries, **changes})


THREE = [(92.13, 89.37), (91.98, 89.51), (92.25, 88.73)]
TWO = [(98.01, 98.04), (97.95, 98.0)]


def test_the_numbers_are_numpys_and_scipys_to_the_printed_digit() -> None:
    drops = np.array([first - second for first, second in THREE])
    mean, std = drops.mean(), drops.std(ddof=1)
    low, high = stats.t.interval(0.95, 2, loc=mean, scale=std / 3**0.5)
    found = sheet(table(entry("LR", "TGDA", THREE)))
    assert found.headings == ("", "", "acc2 %", "drop", "95 %", "n")
    assert found.left == 2
    assert found.rows == (
        (
            "LR",
            "TGDA",
            f"{np.mean([89.37, 89.51, 88.73]):.2f}",
            f"{mean:.2f}±{std:.2f}",
            f"±{(high - low) / 2:.2f}",
            "3",
        ),
    )
    assert found.rows[0][2:5] == ("89.20", "2.92±0.54", "±1.35")  # and by hand
    assert found.title == "T (t, profile p)"


def test_negative_numbers_have_a_minus_and_zero_has_none() -> None:
    found = sheet(table(entry("NN", "Min-max", TWO), entry("NN", "Flip", [(90.0, 90.001), (90.0, 90.0)])))
    assert [row[3] for row in found.rows] == ["−0.04±0.01", "0.00±0.00"]


def test_one_seed_has_no_spread_and_equal_seeds_no_interval() -> None:
    found = sheet(table(entry("LR", "A", THREE[:1]), entry("LR", "B", [(90.0, 88.0)] * 3)))
    assert found.rows == (("LR", "A", "89.37", "2.76", "–", "1"), ("", "B", "88.00", "2.00±0.00", "–", "3"))


def test_long_times_are_hours_as_the_papers() -> None:
    def shown(seconds: float) -> str:
        own = Entry("LR", "A", None, (record(0, 90.0, 80.0, seconds), record(1, 90.0, 80.0, 2 * seconds)))
        return sheet(table(own, shows=("attack-time",))).rows[0][2]

    assert shown(0.5) == "0.8±0.4 s"
    assert shown(2399.9) == "3599.9±1697.0 s"
    assert shown(2400.0) == "1.0±0.5 h"


def test_what_is_missing_is_counted_and_left_open() -> None:
    found = sheet(table(entry("LR", "A", [], missing=3), entry("LR", "B", THREE[:2], missing=1)))
    assert found.rows[0] == ("LR", "A", "–", "–", "–", "0 of 3")
    assert found.rows[1][-1] == "2 of 3"
    assert found.notes == (
        "± is the sample standard deviation over n seeds; 95 % is half the interval of the mean over seeds alone "
        "(Student's t).",
    )
    assert sheet(table(entry("LR", "A", [], missing=3))).notes == ()


def test_a_value_that_some_records_lack_is_over_the_others() -> None:
    records = (record(0, 90.0, 80.0, None), record(1, 90.0, 80.0, 10.0), record(2, 90.0, 80.0, 20.0))
    own = Entry("LR", "A", None, records)
    assert sheet(table(own, shows=("attack-time",))).rows == (("LR", "A", "15.0±7.1 s", "3"),)
    assert sheet(table(own, shows=("drop", "attack-time"))).rows[0][-2:] == ("15.0 s", "3")  # means beside a drop
    assert sheet(table(own, shows=("undefended", "clean-cost"))).rows[0][2:4] == ("11.00±0.00", "0.50±0.00")


PRINTED = {"acc2": 89.80, "drop": -2.55, "attack-hours": 0.7}


def test_the_papers_numbers_stand_beside_ours_with_the_recomputed_drop_in_brackets() -> None:
    shows = ("acc2", "drop", "attack-time")
    rows = [
        entry("LR", "Min-max", THREE, printed=PRINTED, recomputed=92.35 - 89.80),
        entry(
            "LR",
            "TGDA",
            [],
            missing=3,
            printed={"acc2": 89.56, "drop": 2.79, "drop-std": 0.07},
            recomputed=92.35 - 89.56,
        ),
        entry("LR", "Label flip", THREE, printed={"acc2": 90.83, "drop": 1.52, "attack-hours": 0}, recomputed=1.52),
        entry("LR", "New", THREE),
    ]
    found = sheet(table(*rows, shows=shows))
    assert found.headings == ("", "", "acc2 %", "paper", "drop", "95 %", "paper", "attack", "paper", "n")
    paper = [tuple(row[index] for index in (3, 6, 8)) for row in found.rows]
    assert paper == [
        ("89.80", "−2.55[2.55]", "0.7 h"),
        ("89.56", "2.79±0.07", ""),
        ("90.83", "1.52", "0 h"),
        ("", "", ""),
    ]
    brackets = "In brackets: acc1 − acc2 of the accuracies that the paper prints, where its drop is another."
    assert brackets in found.notes
    assert brackets not in sheet(table(*rows[1:], shows=shows)).notes


@pytest.mark.parametrize(
    ("drop", "recomputed", "shown"),
    [
        (1.13, 69.44 - 68.14, "1.13[1.30]"),
        (2.57, 92.35 - 89.77, "2.57[2.58]"),
        (0.05, 0.0, "0.05[0.00]"),
        (0.44, 69.44 - 69.00, "0.44"),
        (2.0, None, "2.00"),
        (0.5, -0.25, "0.50[−0.25]"),
    ],
)
def test_a_recomputed_drop_is_shown_where_it_is_another(drop: float, recomputed: float | None, shown: str) -> None:
    found = sheet(table(entry("LR", "A", [], printed={"drop": drop}, recomputed=recomputed), shows=("drop",)))
    assert found.rows[0][4] == shown
    assert any("brackets" in note for note in found.notes) == ("[" in shown)


def test_the_clean_line_comes_first_in_each_row_with_one_record_a_seed() -> None:
    first, second = entry("LR", "A", THREE), entry("LR", "B", [(92.13, 92.0), (91.98, 91.0)], missing=1)
    third = entry("NN", "A", [])
    found = with_clean([first, second, third], {"LR": 92.35})
    assert [(part.row, part.column) for part in found] == [
        ("LR", CLEAN), ("LR", "A"), ("LR", "B"), ("NN", CLEAN), ("NN", "A"),
    ]  # fmt: skip
    assert [part.seeds.run for part in found[0].records] == [0, 1, 2]
    assert found[0].printed == {"acc1": 92.35}
    assert (found[3].records, found[3].printed) == ((), {})
    shown = sheet(table(*found))
    assert shown.headings == ("", "", "acc2 %", "paper", "drop", "95 %", "paper", "n")
    assert shown.rows[0] == ("LR", "Clean", f"{np.mean([92.13, 91.98, 92.25]):.2f}", "92.35", "–", "–", "", "3")
    assert shown.rows[3] == ("NN", "Clean", "–", "", "–", "–", "", "0")
    assert shown.groups == {0, 3}
    assert [row[0] for row in shown.rows] == ["LR", "", "", "NN", ""]


def test_curves_have_their_x() -> None:
    points = [entry("LR", "A", THREE, x=x) for x in (0.005, 0.3, 1.0)]
    found = sheet(table(*points, shows=("drop",), x_label="ε, percent", percent=True))
    assert found.headings == ("", "", "ε, percent", "drop", "95 %", "n")
    assert found.left == 3
    assert [row[2] for row in found.rows] == ["0.5 %", "30 %", "100 %"]
    rows = sheet(table(entry("SVM", "A", THREE, x=9105.0), shows=("drop",), x_label="rows")).rows
    assert [row[2] for row in rows] == ["9105"]


def test_the_csv_has_every_number_in_full() -> None:
    drops = [first - second for first, second in THREE]
    flip = entry("LR, too", 'a "name"', TWO, x=0.1, missing=1)
    mine = entry("LR", "Min-max", THREE, printed={**PRINTED, "drop-std": 0.07}, recomputed=92.35 - 89.80)
    text = as_csv(table(*with_clean([mine], {"LR": 92.35}), flip, shows=("acc2", "drop", "attack-time")))
    assert list(pd.read_csv(io.StringIO(text))["mean"]) == pytest.approx(
        [float(line["mean"]) for line in csv.DictReader(io.StringIO(text))], rel=1e-12
    )
    lines = [
        {key: float(value) if re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", value) else value for key, value in line.items()}
        for line in csv.DictReader(io.StringIO(text))
    ]
    assert list(lines[0])[:6] == ["study", "profile", "row", "column", "x", "value"]
    clean, acc2, drop, time, *rest = lines
    assert (clean["column"], clean["value"], clean["printed"]) == (CLEAN, "acc1", 92.35)
    assert clean["mean"] == np.mean([first for first, _ in THREE])
    assert (acc2["value"], acc2["printed"], acc2["n"]) == ("acc2", 89.80, 3)
    low, high = stats.t.interval(0.95, 2, loc=np.mean(drops), scale=stats.sem(drops))
    assert (drop["mean"], drop["std"]) == (np.mean(drops), np.std(drops, ddof=1))
    assert (drop["low"], drop["high"]) == (pytest.approx(low, rel=1e-12), pytest.approx(high, rel=1e-12))
    assert (drop["printed"], drop["printed_std"], drop["recomputed"]) == (-2.55, 0.07, 92.35 - 89.80)
    assert (time["value"], time["mean"], time["printed"]) == ("attack-time", 2.5, 0.7 * 3600)
    assert {line[key] for line in lines for key in ("printed_std", "recomputed") if line["value"] != "drop"} == {""}
    assert [(line["row"], line["column"], line["x"], line["missing"]) for line in rest] == [
        ("LR, too", 'a "name"', 0.1, 1)
    ] * 3


def test_the_csv_of_nothing_is_lines_without_numbers() -> None:
    (head, line) = csv.reader(io.StringIO(as_csv(table(entry("LR", "A", [], missing=3), shows=("drop",)))))
    assert dict(zip(head, line, strict=True)) == {
        **dict.fromkeys(head, ""), "study": "t", "profile": "p", "row": "LR", "column": "A", "value": "drop", "n": "0",
        "missing": "3",
    }  # fmt: skip


def played(name: str, profile: str, hours: float = 1.0, part: float = 1.0) -> StudyResults:
    """The study as if its cells had been run, with numbers like the paper's; a part of the cells has no record."""
    study, chance = studies.load(name), random.Random(0)
    found = studies.places(study, profile)
    acc1 = {place.row: chance.uniform(90, 99) for place in found}
    records = {}
    for place in found:
        for cell in place.cells:
            before = acc1[place.row] + chance.gauss(0, 0.1)
            took = chance.uniform(0.5, 1) * hours * 3600
            if chance.random() < part:
                records[cell.hash()] = record(cell.seed, before, before - chance.uniform(-0.5, 4), took)
    return results_of(study, profile, found, records)


def lines(results: StudyResults, width: int = 80) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=width, color_system=None).print(terminal(sheet(results)))
    return [line.rstrip() for line in file.getvalue().splitlines()]


@pytest.mark.parametrize("name", [name for name in studies.names() if studies.load(name).kind == "table"])
def test_a_table_fits_80_columns(name: str) -> None:
    found = played(name, "paper", hours=60.0)
    rows, shown = sheet(found).rows, lines(found)
    assert max(map(len, shown)) <= 80
    body = [line.split() for line in shown]
    for row in rows:  # every row is a line of its own, with all its words
        assert " ".join(row).split() in body


def test_a_missing_seed_is_said_in_the_whole_table() -> None:
    found = played("table2", "paper", part=0.5)
    counts = {row[1]: row[-1] for row in sheet(found).rows if " of " in row[-1]}
    assert counts
    assert all(" of 3" in count for count in counts.values())
    assert sum(len(part.records) + part.missing for part in found.entries if part.column != CLEAN) == 45
    assert max(map(len, lines(found))) <= 80


def test_a_clean_line_is_shown_where_there_are_accuracies() -> None:
    assert [part.column for part in played("table2", "cpu").entries].count(CLEAN) == 3
    for name in ("table9", "table10", "table11", "figure1", "figure3"):  # table9's rows have several targets
        assert CLEAN not in [part.column for part in played(name, "smoke").entries]


def test_notes_say_profile_places_and_remark_once() -> None:
    found = played("table2", "cpu")
    study = studies.load("table2")
    assert found.notes[0] == study.profiles["cpu"].note
    assert found.notes[1:-1] == (
        "NN: one seed, 20 of TGDA's 200 attack epochs.",
        "CNN: one seed, 5 of TGDA's 200 attack epochs.",
    )
    assert found.notes[-1] == study.remark
    recomputed = {(part.row, part.column): part.recomputed for part in found.entries if part.column != CLEAN}
    assert recomputed["LR", "Min-max"] == pytest.approx(2.55)
    assert {part.recomputed for part in played("table9", "smoke").entries} == {None}
