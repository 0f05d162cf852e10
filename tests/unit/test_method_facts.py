"""What pages say of a method: what it knows, proves and costs, and what can be set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from poisonbench.leaderboard.boards import boards
from poisonbench.leaderboard.experiments import experiments
from poisonbench.leaderboard.site.build import Sources, build
from poisonbench.leaderboard.site.method_facts import costs, facts
from poisonbench.store.record import Record
from poisonbench.store.record_results import Metrics

Planted = Callable[..., Record]


def told(kind: str, name: str, *records: Record) -> dict[str, str]:
    return dict(facts(kind, name, experiments(records)))


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("dpa", {"trusted rows": "none", "which rows are poison": "not told", "the true ε": "not told"}),
        ("influence", {"trusted rows": "the protocol's or none, as its fields say", "proves": "nothing"}),
        ("trusted-only", {"trusted rows": "the protocol's"}),
        ("loss", {"a row's score": "from a model that is trained on the rows"}),
        ("random-filter", {"a row's score": "from the pixels, without a model"}),
        ("perfect-filter", {"which rows are poison": "told: a bound on what defenses can do, never ranked"}),
        ("trim", {"models": "lr, svm"}),
    ],
)
def test_a_defense_says_what_it_knows(name: str, rows: dict[str, str]) -> None:
    found = told("defense", name)
    assert {key: found[key] for key in rows} == rows
    assert ("a row's score" in found) == (name in ("influence", "loss", "random-filter"))
    assert found["cost"]


def test_what_is_proven_and_by_whom_it_was_published_is_said() -> None:
    found = told("defense", "finite-aggregation")
    assert found["proves"].startswith("for each test image, how many rows anyone may add")
    assert found["paper"].startswith("Wang, Levine & Feizi, Improved Certified Defenses")
    assert found["paper"].endswith(", 2022")


def test_trusted_rows_are_counted_by_protocol(planted: Planted) -> None:
    def shown(rows: int, protocol: str, seed: int) -> Record:
        detail = {"removed": 0, "trusted": rows}
        named = {**planted().document()["protocol"], "name": protocol}
        return planted(defense="trusted-only", defense_detail=detail, protocol=named, seed=seed)

    found = told("defense", "trusted-only", shown(1300, "b", 0), shown(13, "a", 0), shown(13, "a", 1))
    assert found["trusted rows"] == "the protocol's (13 under a, 1,300 under b)"


def test_an_attack_says_what_table_1_of_the_paper_has(planted: Planted) -> None:
    found = told("attack", "tgda", planted())
    assert found["knows"] == "D_tr, D_v, the model, its recipe and the clean weights"
    assert (found["labels"], found["mode"]) == ("clean, those of the sources", "adds rows")
    assert found["problem"]
    assert told("attack", "label-flip")["labels"] == "dirty, of its choice"
    assert told("attack", "label-flip")["knows"].startswith("D_tr alone or D_tr, D_v, the model")
    assert told("attack", "no-such-attack") == {}


def spent(seconds: float, cost: float | None) -> dict[str, Any]:
    clean = None if cost is None else 90.0 - cost
    return {
        "timing": {"attack_s": 1.0, "defense_s": seconds, "retrain_s": 2 * seconds, "total_s": 9.0},
        "memory": {"rss_peak_mb": 500.0, "defense_rss_peak_mb": 100 * seconds},
        "metrics": Metrics.of(90.0, 85.0, acc1_defended=clean),
    }


def test_costs_are_medians_by_board_and_setting(planted: Planted, tmp_path: Path) -> None:
    records = [
        planted("tgda", defense="dpa", seed=0, **spent(1.0, 2.0)),
        planted("tgda", defense="dpa", seed=1, **spent(2.0, 4.0)),
        planted("emn", defense="dpa", seed=0, **spent(9.0, None)),
        planted("emn", defense="dpa", seed=0, model={"name": "nn", "version": 1, "n_params": 1}, **spent(5.0, None)),
    ]
    results = [(board, one) for board in boards(records) for one in board.experiments]
    linear, network = costs("defense", results)
    assert (linear.board.conditions.model, linear.label, linear.records) == ("lr", "dpa", 3)
    assert (linear.defense_s, linear.retrain_s, linear.memory, linear.gpu_memory) == (2.0, 4.0, 200.0, None)
    assert linear.clean_cost == pytest.approx(3.0)
    assert (network.defense_s, network.clean_cost) == (5.0, None)
    attack = next(one for one in costs("attack", results) if one.label == "tgda")
    assert (attack.attack_s, attack.memory, attack.records) == (1.0, 500.0, 2)
    page = (build(Sources(records), tmp_path / "site").parent / "defenses" / "dpa.html").read_text("utf-8")
    row = page[page.index('id="costs"') :].split("<tbody>")[1].split("</tr>")[0]
    for text in (">dpa<", ">3.00<", ">2.00 s<", ">4.00 s<", ">200 MiB<", ">3<"):
        assert text in row
    assert "on the GPU" not in page
    assert "<td>50</td><td>number of models; the paper has 1,200" in page
    assert "Preset <code>--defense dpa:paper-mnist</code>: k=1200" in page


def _fields(record: Record) -> dict[str, Any]:
    fields = record.document()
    fields.pop("record_id")
    return fields


def test_each_of_several_is_told_of_by_itself(planted: Planted, tmp_path: Path) -> None:
    alone = planted().document()["defense"]
    both = {**alone, "name": "loss+maxup", "version": "1+1", "code_hash": f"{'0' * 64}+{'1' * 64}", "params": {}}
    record = Record.create(**{**_fields(planted()), "defense": both})
    site = build(Sources([record, planted(defense="gone")]), tmp_path / "site").parent
    page = next((site / "defenses").glob("loss-maxup-*")).read_text("utf-8")
    assert page.count("What it knows, and what it proves</h2>") == 2
    assert page.index("Fields of loss") < page.index("defense.loss.fraction=…") < page.index("Fields of maxup")
    gone = (site / "defenses" / "gone.html").read_text("utf-8")
    assert "Not installed where this site was built." in gone
    assert "What it knows" not in gone
