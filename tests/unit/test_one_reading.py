"""One reading of the records: wherever a number is shown, it is the same number of the same records.

What belongs together is told here once more, by hand from the records' documents.
"""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from operator import attrgetter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poisonbench.experiment import protocol
from poisonbench.leaderboard import experiments as one_reading
from poisonbench.leaderboard.badges import SIGN
from poisonbench.leaderboard.boards import boards
from poisonbench.leaderboard.comparison import compare
from poisonbench.leaderboard.experiments import Experiment, experiments
from poisonbench.leaderboard.frame import frame
from poisonbench.leaderboard.plots import (
    axis_lines,
    fraction_figure,
    heatmap_figure,
    lines_figure,
    pareto_figure,
    standings_figure,
)
from poisonbench.leaderboard.plots.figures import SITE
from poisonbench.leaderboard.plots.fraction import curves
from poisonbench.leaderboard.plots.pareto import pareto
from poisonbench.leaderboard.site import data
from poisonbench.leaderboard.site.board_view import view
from poisonbench.leaderboard.site.catalogue import catalogue
from poisonbench.leaderboard.site.rendering import environment
from poisonbench.leaderboard.tables import long_form
from poisonbench.leaderboard.tables.pivot import pivot
from poisonbench.leaderboard.tables.shapes import Shape
from poisonbench.leaderboard.tables.sheet_html import html
from poisonbench.leaderboard.tables.sheet_latex import latex
from poisonbench.leaderboard.tables.sheet_markdown import markdown
from poisonbench.leaderboard.tables.texts import sheet
from poisonbench.store.record import Record
from poisonbench.store.record_results import DefenseDetail
from poisonbench.store.tables import row_of

Planted = Callable[..., Record]
Key = tuple[str, ...]
DETAIL = DefenseDetail(removed=10, precision=0.5, recall=0.5)

some_changes = st.lists(
    st.fixed_dictionaries(
        {
            "attack": st.sampled_from(["tgda", "label-flip"]),
            "params": st.sampled_from([{}, {"alpha": 1}, {"alpha": 1.0}]),
            "surrogate": st.sampled_from([None, None, "nn"]),
            "defense": st.sampled_from(["none", "loss"]),
            "seed": st.integers(0, 3),
            "tenths": st.integers(-20, 80),
            "ok": st.sampled_from([True, True, True, False]),
            "code": st.sampled_from("ab"),
            "day": st.integers(1, 28),
        },
        optional={
            "epsilon": st.just(0.1),
            "whole_set": st.just(True),
            "model": st.just("nn"),
            "engine": st.just(0),
            "version": st.just("0"),
            "hash": st.just("9" * 64),
            "data": st.just("8" * 64),
            "deviation": st.sampled_from(["train_rows: 1006 → 100", "recipe.epochs: 100 → 5"]),
            "locked": st.just(False),
        },
    ),
    max_size=40,
)

few_changes = st.lists(
    st.fixed_dictionaries(
        {
            "attack": st.sampled_from(["tgda", "label-flip"]),
            "params": st.just({}),
            "surrogate": st.none(),
            "defense": st.sampled_from(["none", "loss"]),
            "seed": st.integers(0, 2),
            "tenths": st.integers(-20, 80),
            "ok": st.just(True),
            "code": st.just("a"),
            "day": st.integers(1, 2),
            "epsilon": st.sampled_from([0.03, 0.1]),
            "version": st.sampled_from("01"),
            "engine": st.sampled_from([1, 1, 0]),
        },
        optional={"deviation": st.just("train_rows: 1006 → 100")},
    ),
    max_size=40,
)
"""Fewer, so that curves have points."""


def made(planted: Planted, some: Iterable[Mapping[str, Any]]) -> list[Record]:
    """A record each, but for those that are the same."""
    found = []
    for change in some:
        drop = change["tenths"] / 10 if change["ok"] else None
        document = planted(
            change["attack"], drop, change["seed"], change["defense"], params=change["params"]
        ).document()
        whole = {"mode": "perturbation", "n_poison": 1006} if change.get("whole_set") else {"mode": "addition"}
        newest = document["attack"]["version"]
        version = "0" if change.get("version") == "0" else newest
        versions = {"version": version, "code_hash": change["code"] * 64}
        deviations = [change["deviation"]] if "deviation" in change else []
        rules = {"hash": change.get("hash", "2" * 64), "locked": change.get("locked", True), "deviations": deviations}
        changed = {
            "attack": {**document["attack"], **versions},
            "surrogate": change["surrogate"],
            "surrogate_version": change["surrogate"] and 1,
            "model": {**document["model"], "name": change.get("model", "lr")},
            "engine": {**document["engine"], "version": change.get("engine", 1)},
            "dataset": {**document["dataset"], "sha256": change.get("data", "3" * 64)},
            "protocol": {**document["protocol"], **rules},
            "threat": {**document["threat"], **whole, "denominator": 1006, "epsilon": change.get("epsilon", 0.03)},
            "defense_detail": DETAIL if change["defense"] == "loss" else None,
            "timing": {**document["timing"], "attack_s": 1.0},
            "finished_at": f"2026-12-{change['day']:02d}T00:00:00Z",
        }
        own = {key: value for key, value in (document | changed).items() if key != "record_id"}
        found.append(Record.create(**own))
    return list({record.record_id: record for record in found}.values())


def key_of(record: Record) -> Key:
    """All that two seeds of one mean share, from the record's document."""
    document = record.document()
    threat = document["threat"]
    whole = threat["mode"] == "perturbation" and threat["n_poison"] >= threat["denominator"]
    methods = [{part: document[kind][part] for part in ("name", "version", "params")} for kind in ("attack", "defense")]
    shared = [
        document["engine"]["version"], document["protocol"], document["dataset"]["name"],
        document["dataset"]["version"], document["dataset"]["sha256"], document["dataset"]["n_test"],
        document["model"]["name"], document["model"]["version"], document["surrogate"], document["surrogate_version"],
        *methods, threat["epsilon"], whole,
    ]  # fmt: skip
    return tuple(json.dumps(part, sort_keys=True) for part in shared)


def by_hand(records: Iterable[Record]) -> dict[Key, dict[int, Record]]:
    """Of each experiment that may be ranked, the latest good record of each seed."""
    latest: dict[Key, dict[int, Record]] = {}
    for record in sorted(records, key=lambda record: (record.finished_at, record.record_id)):
        current = record.engine.version != 1 or record.attack.version != "0"
        if record.status == "ok" and record.protocol.locked and not record.protocol.deviations and current:
            latest.setdefault(key_of(record), {})[record.seeds.run] = record
    return latest


Shown = dict[Key, tuple[float, frozenset[str]]]
"""A mean drop, and the ids of the records that it is of."""


def ids(experiment: Experiment[Any]) -> frozenset[str]:
    return frozenset(record.record_id for record in experiment.records.values())


def on_boards(records: list[Record]) -> Shown:
    found = [one for board in boards(records) for one in board.experiments if one.ranked]
    return {key_of(one.first): (one.drop.mean, ids(one)) for one in found if one.drop}


def in_tables(records: list[Record], shape: Shape) -> Shown:
    first = {record.record_id: record for record in records}
    tables = pivot(map(row_of, records), {"drop": attrgetter("drop")}, shape)
    return {
        key_of(first[one.experiment.first.record_id]): (one.summary.mean, ids(one.experiment))
        for table in tables
        for one in table.measured.values()
    }


def on_the_site(records: list[Record]) -> Shown:
    shown, found = {}, catalogue(records)
    for board in found.boards:
        for entry in view(board, {}).matrix.values():
            if entry.experiment.ranked and entry.experiment.drop:
                shown[key_of(entry.experiment.first)] = entry.experiment.drop.mean, ids(entry.experiment)
    return shown


def in_the_download(records: list[Record]) -> Shown:
    by_id = {record.record_id: record for record in records}
    document = json.loads(data.as_json(catalogue(records)))
    places = [place for board in document["boards"] for place in board["places"]]
    ranked = [place for place in places if place["drop"] and "unranked" not in place["badges"]]
    good = [[by_id[place["records"][seed]] for seed in place["by_seed"]] for place in ranked]
    return {
        key_of(own[0]): (place["drop"]["mean"], frozenset(record.record_id for record in own))
        for place, own in zip(ranked, good, strict=True)
    }


def by_filters(records: list[Record]) -> list[float]:
    """Drops against filters, with no x for a fraction; a filter that has none has a point for each number removed."""
    return sorted(
        point.drop.summary.mean for curve in curves(records) for line in curve.by_defense.values() for point in line
    )


@settings(max_examples=60, deadline=None)
@given(some=some_changes)
def test_one_number_is_the_same_number_of_the_same_records(planted: Planted, some: list[dict[str, Any]]) -> None:
    records = made(planted, some)
    own = by_hand(records)
    expected = {
        key: (statistics.fmean(record.metrics.drop for record in seeds.values() if record.metrics), seeds)
        for key, seeds in own.items()
    }
    for shown in (
        on_boards(records),
        in_tables(records, Shape()),
        in_tables(records, Shape(("model", "epsilon"), ("protocol", "surrogate"))),
        on_the_site(records),
        in_the_download(records),
    ):
        assert shown.keys() == expected.keys()
        for key, (mean, names) in shown.items():
            assert mean == pytest.approx(expected[key][0], abs=1e-9)
            assert names == {record.record_id for record in expected[key][1].values()}
    filtered = [mean for mean, seeds in expected.values() if next(iter(seeds.values())).defense.name == "loss"]
    assert by_filters(records) == pytest.approx(sorted(filtered), abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(some=few_changes)
def test_figures_and_comparisons_show_the_boards_numbers(planted: Planted, some: list[dict[str, Any]]) -> None:
    records = made(planted, some)
    found = boards(records)
    for board in found:
        ranked = [one for one in board.experiments if one.ranked]
        for defense in {one.defense_label for one in ranked}:
            points = pareto(board, defense)
            drops = [one.drop for one in ranked if one.defense_label == defense]
            assert points is not None
            assert sorted(map(repr, (point.drop for point in points.points))) == sorted(map(repr, drops))
        for a, b in itertools.combinations(ranked, 2):
            shared = [seed for seed in a.drops if seed in b.drops]
            if shared:
                (pair,) = compare([a, b], "drop")
                for summary, one in ((pair.of_a, a), (pair.of_b, b)):
                    assert summary.mean == pytest.approx(statistics.fmean(one.drops[seed] for seed in shared))
    panels = axis_lines._panels(experiments(records), axis_lines.EPSILON, "drop", ("none", "loss"))
    points = [by_seed for panel in panels.values() for by_seed in panel.records.values()]
    drawn = [sorted((seed, one.metrics.drop) for seed, one in by_seed.items() if one.metrics) for by_seed in points]
    ranked = [one for board in found for one in board.experiments if one.ranked]
    wide = [
        one for one in ranked if len({each.conditions.epsilon for each in ranked if same_but_epsilon(each, one)}) > 1
    ]
    assert sorted(drawn) == sorted(sorted(one.drops.items()) for one in wide)


def same_but_epsilon(one: Experiment[Record], other: Experiment[Record]) -> bool:
    return {**asdict(one.conditions), "epsilon": 0} == {**asdict(other.conditions), "epsilon": 0}


@settings(max_examples=40, deadline=None)
@given(some=some_changes)
def test_every_record_is_of_one_experiment(planted: Planted, some: list[dict[str, Any]]) -> None:
    records = made(planted, some)
    found = experiments(records)
    held = [
        record.record_id for one in found for record in (*one.records.values(), *one.failures.values(), *one.superseded)
    ]
    assert sorted(held) == sorted(record.record_id for record in records)
    assert catalogue(records).seats.keys() == set(held)
    assert set(frame(records)["record_id"]) == set(held)
    for one in found:
        codes = {one.records[seed].attack.code_hash for seed in one.seeds_that_count}
        assert one.mixed_code == (len(codes) > 1)
        assert all(one.holds(record) for record in (*one.records.values(), *one.failures.values(), *one.superseded))


@pytest.mark.parametrize("mixed", [True, False])
def test_a_mean_over_different_code_is_marked_everywhere(planted: Planted, mixed: bool) -> None:
    """By its sign in texts, by its name in data; and nowhere without one."""
    some = [
        {"attack": attack, "params": {}, "surrogate": None, "defense": defense, "seed": seed, "tenths": 10 * seed,
         "ok": True, "day": 1, "code": "b" if mixed and seed and attack == "tgda" else "a", "epsilon": epsilon}
        for attack in ("tgda", "label-flip") for defense in ("none", "loss") for seed in range(3)
        for epsilon in (0.03, 0.1)
    ]  # fmt: skip
    records = made(planted, some)
    tables = pivot(map(row_of, records), {"drop": attrgetter("drop")}, Shape())
    sheets = [sheet(table) for table in tables]
    board = next(iter(boards(records)))
    timed, chart = pareto(board), axis_lines.chart(records, axis_lines.EPSILON, "drop")
    assert timed is not None
    assert chart is not None
    page = environment(catalogue(records)).get_template("board.html")
    look = {"root": "", "page": "board", "view": view(board, {}), "switches": (), "caveats": ()}
    look |= {"strength": None, "proofs": None}
    texts = [
        *map(markdown, sheets),
        html("", sheets),
        page.render(**look),
        heatmap_figure.draw(board, "svg", SITE).decode(),
        pareto_figure.draw(timed, "svg", SITE).decode(),
        lines_figure.draw(chart, "svg", SITE).decode(),
        fraction_figure.draw(curves(records), "svg", SITE).decode(),
    ]
    assert [text.count(SIGN) >= 2 for text in texts] == [mixed] * len(texts)  # beside the number, and in a note
    assert mixed or not any(SIGN in text for text in texts)
    assert ["dagger" in latex(one) for one in sheets] == [mixed] * 2
    forest = standings_figure.draw(board, "svg", SITE).decode()
    files = [long_form.as_csv(tables), json.dumps(long_form.document(tables)), data.as_json(catalogue(records))]
    assert ["mixed code" in text for text in (*files, forest)] == [mixed] * 4


def test_rules_that_go_by_a_shipped_protocols_name_are_never_ranked(
    planted: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `--set name=digits-v1` once let a record say."""
    monkeypatch.setattr(one_reading, "shipped_hash", protocol.shipped_hash)
    rules = {"name": "digits-v1", "version": 1, "locked": True, "deviations": []}
    true, false = ({**rules, "hash": hash_} for hash_ in (protocol.resolve("digits-v1", ()).hash, "3" * 64))
    found = experiments(
        planted(attack, 1.0, seed, protocol=of) for attack, of in (("tgda", true), ("emn", false)) for seed in (0, 1)
    )
    assert {one.attack.name: one.ranked for one in found} == {"tgda": True, "emn": False}
    (unranked,) = (one for one in found if not one.ranked)
    assert unranked.conditions.deviations == ("the rules are not those of digits-v1",)
    records = [record for one in found for record in one.records.values()]
    tables = pivot(map(row_of, records), {"drop": attrgetter("drop")}, Shape())
    assert [{one.experiment.attack.name for one in table.measured.values()} for table in tables if table.measured] == [
        {"tgda"}
    ]
    assert len(boards(records)) == 2
