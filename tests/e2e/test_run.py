"""`poisonbench run` on real data."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from subprocess import CompletedProcess
from typing import Any

import pytest

RUN = ("run", "--attack", "label-flip")


@pytest.fixture(scope="module")
def records(first: CompletedProcess[str]) -> list[dict[str, Any]]:
    """What the first run printed."""
    found: list[dict[str, Any]] = json.loads(first.stdout)
    return found


def test_json_is_exactly_the_stored_records(records: list[dict[str, Any]], poisonbench: Any) -> None:
    stored = {record["record_id"]: record for record in poisonbench.json("results", "show", "--json")}
    assert [record["seeds"]["run"] for record in records] == [0, 1, 2]
    for record in records:
        assert stored[record["record_id"]] == record


def test_drop_is_acc1_minus_acc2(records: list[dict[str, Any]]) -> None:
    for record in records:
        metrics = record["metrics"]
        assert record["status"] == "ok"
        assert metrics["drop"] == metrics["acc1"] - metrics["acc2"]
        assert 85 < metrics["acc1"] < 100  # logistic regression on the digits; 10 would be chance


def test_a_record_says_what_was_run(records: list[dict[str, Any]]) -> None:
    for record in records:
        assert record["protocol"]["name"] == "digits-v2"
        assert record["protocol"]["locked"]
        assert record["protocol"]["deviations"] == []
        assert record["attack"]["params"]["epochs"] == 10
        assert record["threat"]["n_poison"] == record["poison_check"]["n_poison"] == 27  # ⌊0.03 · 908⌋
        assert record["threat"]["denominator"] == record["dataset"]["n_train"] == 908
        assert 30 < record["defense_detail"]["removed"] <= 56  # four rounds of at most ⌊0.015 · rows⌋ of each class
        assert record["metrics"]["clean_cost"] == record["metrics"]["acc1_padded"] - record["metrics"]["acc1_defended"]
        assert 85 < record["metrics"]["acc2_undefended"] < 100
        assert record["timing"]["attack_s"] > 0
        assert record["memory"]["rss_peak_mb"] > 0
        assert record["solver"]["steps"] > 0


def test_artifacts_lie_where_the_record_says(records: list[dict[str, Any]], poisonbench: Any) -> None:
    for record in records:
        assert {artifact["kind"] for artifact in record["artifacts"]} == {
            "poison",
            "defense",
            "predictions",
            "clean-predictions",
        }
        for artifact in record["artifacts"]:
            assert (poisonbench.home / artifact["path"]).stat().st_size == artifact["bytes"]


def test_the_second_run_takes_everything_from_the_store(
    records: list[dict[str, Any]], poisonbench: Any, quick: tuple[str, ...]
) -> None:
    done = poisonbench(*quick)
    assert "From the store: 3 of 3 records; nothing of them was computed again." in done.stdout
    for record in records:
        assert record["record_id"] in done.stdout
    stored = poisonbench.json("results", "show", "--attack", "tgda", "--defense", "sever", "--json")
    assert [record for record in stored if record["attack"]["params"]["epochs"] == 10] == records


def reused_and_computed(panel: str) -> tuple[str, str]:
    """What the panel says was computed, and what came from the store."""
    found = re.search(r"Computed: (.*?)\. From the store: (.*?)\.", " ".join(panel.replace("│", " ").split()))
    assert found, panel
    return found[1], found[2]


def test_another_defense_reuses_the_attack(fresh: Callable[..., Any]) -> None:
    """The loss defense's first model is that of sever's first round; only its second is new. So with no poison."""
    home = fresh()
    home(*RUN, "-d", "sever", "--seeds", "0")
    panel = home(*RUN, "-d", "loss", "--seeds", "0").stdout
    assert reused_and_computed(panel) == ("2 defense runs, 2 training runs", "5 training runs, 1 poison set")
    panel = home(*RUN[1:], "--seeds", "0").stdout  # without a subcommand it runs, and defends with nothing
    assert "label-flip against none" in panel
    assert reused_and_computed(panel) == ("2 defense runs", "5 training runs, 1 poison set")


def test_force_makes_a_new_record_of_finished_stages(
    records: list[dict[str, Any]], poisonbench: Any, quick: tuple[str, ...]
) -> None:
    forced = poisonbench.json(*quick, "--force", "--json")
    assert forced[0]["record_id"] != records[0]["record_id"]
    assert forced[0]["metrics"] == records[0]["metrics"]
    assert forced[0]["artifacts"] == records[0]["artifacts"]


def test_lists_by_comma_make_a_grid(poisonbench: Any) -> None:
    grid = ("--attack", "label-flip", "--defense", "none,loss", "--epsilon", "0.01,0.02", "--seeds", "0,1")
    found = poisonbench.json("run", *grid, "--json")
    cells = [(r["defense"]["name"], r["threat"]["epsilon"], r["seeds"]["run"]) for r in found]
    assert cells == [(d, e, s) for d in ("none", "loss") for e in (0.01, 0.02) for s in (0, 1)]


def test_a_surrogate_is_recorded(poisonbench: Any) -> None:
    run = ("run", "-a", "tgda", "--surrogate", "nn", "--set", "attack.epochs=1", "--seeds", "0", "--json")
    (record,) = poisonbench.json(*run)
    assert (record["surrogate"], record["model"]["name"]) == ("nn", "lr")


def test_a_locked_field_makes_the_record_unranked(poisonbench: Any) -> None:
    run = ("run", "-a", "label-flip", "--set", "recipe.epochs=5", "--seeds", "0")
    done = poisonbench(*run)
    assert "Unranked: recipe.epochs: 100 → 5." in done.stdout
    (record,) = poisonbench.json(*run, "--json")
    assert record["protocol"]["deviations"] == ["recipe.epochs: 100 → 5"]


def test_a_protocol_of_ones_own_is_unranked_and_takes_no_released_ones_place(poisonbench: Any) -> None:
    mine = poisonbench.home / "mine.yaml"
    mine.write_text(poisonbench("describe", "digits-v2").stdout.replace("digits-v2", "mine"), encoding="utf-8")
    run = ("run", "-a", "label-flip", "--seeds", "7")
    assert "Unranked: the protocol is a file of your own." in poisonbench(*run, "--protocol", str(mine)).stdout
    (record,) = poisonbench.json(*run, "--json")
    assert (record["protocol"]["name"], record["protocol"]["locked"]) == ("digits-v2", True)


def test_no_bars_and_no_colours_when_piped(poisonbench: Any) -> None:
    done = poisonbench("run", "-a", "tgda", "-d", "sever", "--set", "attack.epochs=2", "--seeds", "0")
    for stream in (done.stdout, done.stderr):
        assert "\x1b" not in stream
        assert "\r" not in stream
    assert "Records are in" in done.stderr
    assert str(poisonbench.home) in done.stderr
