"""Records of seeds of one's own: no mean is over them, so nothing that is said of a mean is about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from poisonbench.api.results import Results
from poisonbench.leaderboard.badges import Badge, Tier
from poisonbench.leaderboard.boards import Board, boards
from poisonbench.leaderboard.experiments import Experiment, experiments
from poisonbench.leaderboard.plots.certified import certificates
from poisonbench.leaderboard.plots.fraction import curves
from poisonbench.leaderboard.plots.standings import standings
from poisonbench.leaderboard.plots.training import traces
from poisonbench.store.record import Record
from poisonbench.store.record_results import Certified, Metrics
from poisonbench.terminal.grid_table import grid_table
from poisonbench.visible import visible

Seeds = Callable[..., list[Record]]
Planted = Callable[..., Record]


def only(records: list[Record]) -> Experiment[Record]:
    (found,) = experiments(records)
    return found


def board_of(records: list[Record]) -> Board:
    (found,) = boards(records)
    return found


def test_badges_and_tier_are_of_the_seeds_that_count(seeds: Seeds, planted: Planted, verify: Any) -> None:
    usual = [verify(record, record.metrics.drop) for record in seeds("tgda", [3.0, 4.0, 5.0])]
    facts = planted("tgda", 9.0, seed=99, attack_stats={"collapsed": True}).document()
    del facts["record_id"]
    other = Record.create(**{**facts, "attack": {**facts["attack"], "code_hash": "f" * 64}})
    alone, beside = only(usual), only([*usual, other])
    assert (beside.mixed_code, beside.tier, beside.badges) == (False, Tier.VERIFIED, ())
    assert (alone.mixed_code, alone.tier, alone.badges) == (beside.mixed_code, beside.tier, beside.badges)
    assert only([usual[0], *(planted("tgda", 9.0, seed=seed) for seed in (7, 8, 9))]).badges == (Badge.FEW_SEEDS,)
    assert len(beside.codes_of(beside.records)) == 2


def test_a_figure_of_standings_has_the_seeds_of_its_means(seeds: Seeds, planted: Planted) -> None:
    usual = [
        *seeds("tgda", [3.0, 4.0, 5.0]), *seeds("emn", [1.0, 1.1, 0.9]),
        *seeds("tgda", [1.0, 2.0, 1.5], defense="loss"), *seeds("emn", [0.0, 0.1, 0.2], defense="loss"),
    ]  # fmt: skip
    others = [
        planted(attack, 9.0, seed=seed, defense=defense)
        for attack in ("tgda", "emn") for defense in ("none", "loss") for seed in (7, 8)
    ]  # fmt: skip
    alone, beside = standings(board_of(usual)), standings(board_of([*usual, *others]))
    assert "mean of n = 3 seeds" in beside.note
    for section, other in zip(alone.sections, beside.sections, strict=True):
        for row, same in zip(section.rows, other.rows, strict=True):
            assert (row.seeds, row.summary) == (same.seeds, same.summary)
            assert len(same.seeds) == 3
            assert "n = " not in same.numbers


def test_a_clean_cost_is_over_the_seeds_that_count_of_all_attacks(planted: Planted) -> None:
    """One attack was run with seeds of one's own alone."""

    def defended(attack: str, seed: int, cost: float) -> Record:
        return planted(attack, seed=seed, defense="loss", metrics=Metrics.of(90.0, 85.0, acc1_defended=90.0 - cost))

    records = [*(defended("tgda", seed, 1.0) for seed in range(3)), defended("emn", 99, 50.0)]
    (standing,) = board_of(records).defenses
    assert standing.clean_cost is not None
    assert (standing.clean_cost.mean, standing.clean_cost.n) == (1.0, 3)


def test_curves_are_of_the_seeds_that_count(planted: Planted) -> None:
    """Certified accuracy, training and fraction: as without the others, though one attack was run with these alone."""

    def made(attack: str, seed: int, accuracy: float) -> Record:
        proven = Certified(rows=(0, 3), accuracy=(accuracy, 0.0))
        metrics = Metrics.of(90.0, 85.0, acc1_defended=accuracy, acc1_padded=accuracy, certified=proven)
        trace = {"a": {"step": [1, 2], "loss": [accuracy, 1.0]}}
        return planted(attack, seed=seed, defense="dpa", metrics=metrics, attack_stats={"trace": trace})

    usual = [made("tgda", seed, 80.0 + seed) for seed in (0, 1)]
    alone, beside = board_of(usual), board_of([*usual, made("tgda", 99, 10.0), made("emn", 98, 20.0)])
    assert certificates(beside) == certificates(alone)
    lines = [found.measures["loss"]["tgda"] for found in map(traces, (alone, beside)) if found]
    assert [len(line) for line in lines] == [2, 2]


def test_what_a_filter_leaves_is_beside_the_drop_of_the_seeds_that_count(planted: Planted) -> None:
    def filtered(seed: int, undefended: float, defense: str = "loss") -> Record:
        detail = {"removed": 30, "precision": 0.5, "recall": 0.5}
        metrics = Metrics.of(90.0, 85.0, acc2_undefended=90.0 - undefended)
        return planted("tgda", seed=seed, defense=defense, metrics=metrics, defense_detail=detail)

    (found,) = curves([filtered(0, 2.0), filtered(1, 4.0), filtered(99, 50.0, defense="sever")])
    assert found.undefended == pytest.approx(3.0)


def test_a_run_says_what_its_means_leave_out(planted: Planted) -> None:
    records = [planted("tgda", float(seed), seed=seed) for seed in (0, 7, 8)]
    line = "Left out of the means: 2 records of seeds that are not the protocol's."
    results = Results(tuple(records), {})
    assert line in str(results)
    assert visible(line).replace("'", "&#x27;") in results._repr_html_()
    assert line in [str(part) for part in grid_table(records).renderables]
    for few in (records[:1], records[1:]):
        assert "Left out" not in str(replace(results, records=tuple(few)))
