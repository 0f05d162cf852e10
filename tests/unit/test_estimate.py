"""Costs: which record tells, and that what cells share is counted once; against sums by hand and by enumeration."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from poisonbench.data.base import DataOptions, prepare
from poisonbench.experiment.cell import Cell, method
from poisonbench.experiment.runner import Runner
from poisonbench.models.base import Model
from poisonbench.plugins.registry import load, name_of
from poisonbench.store.database import Store
from poisonbench.store.record import Record
from poisonbench.sweeps import estimate
from poisonbench.sweeps.estimate import CALIBRATION_BATCHES, TRIES, Cost, Estimator, training_time
from poisonbench.sweeps.grid import cells, grid

FIXTURE = Path(__file__).with_name("test_store_record_v5.json")


def made(**document: Any) -> list[Cell]:
    return cells(grid({"attack": "label-flip", "protocol": "digits-v1", "seeds": 0, **document}, "sweep"), "")


def record(
    cell: Cell,
    pretrain: float | None = 10.0,
    attack: float | None = 1.0,
    defense: float | None = 0.0,
    retrain: float | None = 10.0,
    memory: float | None = 512.0,
    **changes: Any,
) -> Record:
    """A record of that cell that took so many seconds."""
    fields = json.loads(FIXTURE.read_text("utf-8"))
    fields.pop("record_id")
    protocol = cell.settings.protocol
    facts = {
        "cell_hash": cell.hash(),
        "protocol": {
            "name": protocol.name, "version": protocol.version, "hash": cell.settings.hash, "locked": True,
            "deviations": cell.deviations,
        },
        "dataset": {**fields["dataset"], "name": protocol.dataset},
        "model": {"name": name_of(cell.model), "version": 1, "n_params": 1},
        "surrogate": cell.transfer,
        "surrogate_version": 1 if cell.transfer else None,
        "attack": method("attack", cell.attack),
        "defense": method("defense", cell.defense),
        "timing": {
            "pretrain_s": pretrain, "attack_s": attack, "defense_s": defense, "retrain_s": retrain, "total_s": 99.0,
        },
        "memory": {"rss_peak_mb": memory},
    }  # fmt: skip
    return Record.create(**{**fields, **facts, **changes})


class Calibration:
    """Says what a training run of a model takes, and counts how often it is asked."""

    def __init__(self, **seconds: float) -> None:
        self.seconds, self.asked = seconds, list[str]()

    def __call__(self, cell: Cell, model: type[Model]) -> float:
        self.asked.append(name_of(model))
        return self.seconds[name_of(model)]


def estimator(*records: Record, **calibrated: float) -> Estimator:
    found = Estimator(Calibration(**calibrated))
    found.learn(records)
    return found


def seconds(found: Estimator, *some: Cell) -> list[float | None]:
    return [cost.seconds for cost in found.costs(some)]


def test_an_undefended_cell_is_two_trainings_and_an_attack() -> None:
    (cell,) = made()
    assert estimator(record(cell)).costs([cell]) == [Cost(10.0 + 1.0 + 10.0, 512.0)]


def test_a_defended_cell_is_defended_twice_with_poison_and_without() -> None:
    (cell,) = made(defense="loss")
    assert seconds(estimator(record(cell, defense=3.0, retrain=9.0)), cell) == [10.0 + 1.0 + 10.0 + 12.0 + 12.0]


def test_where_clean_rows_stand_in_the_poisons_place_there_is_one_training_more() -> None:
    cells_ = made(protocol="digits-v2", attack=["label-flip", "emn"], epsilon=[0.03, 0.1])
    found = seconds(estimator(*map(record, cells_)), *cells_)
    assert found == [10.0 + 1.0 + 10.0 + 10.0, 1.0 + 10.0 + 10.0, 1.0 + 10.0, 1.0 + 10.0]  # once for each ε


@pytest.mark.parametrize(("protocol", "more"), [("digits-v1", []), ("digits-v2", ["weights"])])
def test_the_runner_trains_what_the_estimate_counts(protocol: str, more: list[str], tmp_path: Path) -> None:
    none, loss = made(protocol=protocol, defense=["none", "loss"], set={"recipe.epochs": 1})
    with Store.open(str(tmp_path)) as store:
        first, second = (Runner(store).run(cell) for cell in (none, loss))
    assert sorted(first.computed) == ["defense", "defense", "poison", "weights", "weights", *more]
    assert "poison" in second.reused
    assert second.computed.count("defense") == 2


def test_what_cells_share_is_counted_once_by_hand() -> None:
    lists = {"attack": ["label-flip", "tgda"], "model": ["lr", "nn"], "defense": ["none", "loss", "sever"]}
    training = {"lr": 10.0, "nn": 100.0}
    attack = {("label-flip", "lr"): 1.0, ("label-flip", "nn"): 2.0, ("tgda", "lr"): 1000.0, ("tgda", "nn"): 2000.0}
    defense = {("loss", "lr"): 3.0, ("loss", "nn"): 5.0, ("sever", "lr"): 7.0, ("sever", "nn"): 11.0}
    names = [(name_of(type(cell.attack)), name_of(cell.model), cell.defense.name) for cell in made(**lists)]
    history = [
        record(cell, training[model], attack[by, model], 1.0, defense.get((guard, model), 1.0) - 1.0)
        for cell, (by, model, guard) in zip(made(**lists), names, strict=True)
    ]
    found = estimator(*history)

    wanted = made(**lists, surrogate=[None, "lr"], seeds=[0, 1])
    costs = seconds(found, *wanted)
    # A seed: both models clean; four poison sets; each attack on lr against lr and nn, and on nn against nn, bare and
    # with both defenses; both defenses without poison, on both models.
    clean, poison, bare, defended, guarded = 110, 3003, 2 * (10 + 100 + 100), 2 * (10 + 16 + 16), 10 + 16
    assert sum(cost or 0.0 for cost in costs) == 2 * (clean + poison + bare + defended + guarded)

    stages: set[tuple[object, ...]] = set()
    for cell, cost in zip(wanted, costs, strict=True):
        by, model, guard, on = (
            name_of(type(cell.attack)),
            name_of(cell.model),
            cell.defense.name,
            name_of(cell.surrogate),
        )
        own: dict[tuple[object, ...], float] = {
            (cell.seed, model): training[model],
            (cell.seed, on): training[on],
            (cell.seed, by, on): attack[by, on],
            (cell.seed, by, on, "against", model): training[model],
        }
        if guard != "none":
            own[cell.seed, by, on, "against", model, guard] = own[cell.seed, model, guard] = defense[guard, model]
        assert cost == sum(price for stage, price in own.items() if stage not in stages)
        stages |= own.keys()


def test_other_epsilons_rules_and_settings_share_no_poison_but_the_clean_training() -> None:
    (cell,) = made()
    found = estimator(record(cell))
    assert seconds(found, *made(epsilon=[0.03, 0.1])) == [21.0, 11.0]
    assert seconds(found, *made(seeds=[0, 1])) == [21.0, 21.0]
    assert seconds(found, *made(), *made()) == [21.0, 0.0]
    slower = made(set={"recipe.epochs": [100, 200]})
    assert seconds(estimator(record(cell), lr=20.0), *slower) == [21.0, 20.0 + 2.0 + 20.0]


def test_the_same_fields_on_the_same_model_tell_most() -> None:
    cell, other, faster = (made(attack="tgda", set={"attack.epochs": epochs})[0] for epochs in (200, 100, 20))
    (elsewhere,) = made(attack="tgda", model="nn")
    history = {
        "exact": [record(cell, 10.0, 50.0), record(cell, 10.0, 60.0), record(cell, 10.0, 90.0)],
        "ratio": [record(other, 5.0, 20.0), record(faster, 5.0, 10.0), record(faster, 5.0, 15.0)],  # 4, 2 and 3 times
        "model": [record(elsewhere, 100.0, 700.0)],  # 7 times
    }
    # The training takes 10 s, or the median of what records say, 10 and 5, or what calibration says.
    everything = estimator(*history["exact"], *history["ratio"], *history["model"])
    assert seconds(everything, cell) == [7.5 + 60.0 + 7.5]
    assert seconds(estimator(*history["ratio"], *history["model"]), cell) == [5.0 + 3.0 * 5.0 + 5.0]
    assert seconds(estimator(*history["model"], lr=10.0), cell) == [10.0 + 7.0 * 10.0 + 10.0]
    assert seconds(estimator(*history["exact"], *history["model"]), cell) == [10.0 + 60.0 + 10.0]


def test_other_rules_tell_by_their_ratio_alone() -> None:
    (cell,), (quick,) = made(attack="tgda"), made(attack="tgda", set={"recipe.epochs": 1})
    assert seconds(estimator(record(quick, 0.5, 2.0), lr=10.0), cell) == [10.0 + 40.0 + 10.0]
    assert seconds(estimator(record(quick, 0.5, 2.0), record(cell, 10.0, 3.0)), cell) == [10.0 + 3.0 + 10.0]


def test_another_machines_records_tell_ratios_and_no_seconds() -> None:
    (cell,) = made(attack="tgda")
    found = Estimator(Calibration(lr=10.0))
    found.learn([record(cell, 2.0, 8.0)], elsewhere=True)
    assert seconds(found, cell) == [10.0 + 4.0 * 10.0 + 10.0]
    both = Estimator(Calibration())
    both.learn([record(cell, 2.0, 8.0)], elsewhere=True)
    both.learn([record(cell, 5.0, 6.0)])
    assert seconds(both, cell) == [5.0 + 6.0 + 5.0]


def test_without_calibration_another_machines_seconds_stand_in_but_for_this_machines() -> None:
    (cell,), (other,) = made(attack="tgda"), made(attack="tgda", set={"recipe.epochs": 7})
    found = Estimator()
    assert seconds(found, cell) == [None]
    found.learn([record(cell, 2.0, 8.0), record(other, 20.0, 80.0)], elsewhere=True)
    (elsewhere,) = made(attack="tgda", protocol="mnist-v1")
    assert seconds(found, cell) == [11.0 + 4.0 * 11.0 + 11.0]  # both records are of one protocol: their median
    assert seconds(found, elsewhere) == [11.0 + 4.0 * 11.0 + 11.0]  # of that model alone
    assert seconds(found, made(attack="tgda", model="nn")[0]) == [None]
    found.learn([record(cell, 5.0, 6.0)])
    assert seconds(found, cell) == [5.0 + 6.0 + 5.0]


def test_defenses_are_told_by_ratio_too() -> None:
    (cell,), (milder,) = made(defense="loss"), made(defense="loss", set={"defense.fraction": 0.1})
    found = estimator(record(milder, 10.0, 1.0, 5.0, 20.0))
    assert seconds(found, cell) == [10.0 + 1.0 + 10.0 + 25.0 + 25.0]
    (network,) = made(defense="loss", model="nn")
    assert seconds(estimator(record(milder, 10.0, 1.0, 5.0, 20.0), nn=100.0), network) == [100 + 10 + 100 + 250 + 250]


def test_a_method_that_no_record_has_is_unknown() -> None:
    plain, tgda, guarded = made()[0], made(attack="tgda")[0], made(defense="sever")[0]
    found = estimator(record(plain))
    assert found.costs([tgda]) == [Cost(None, 512.0)]
    assert seconds(found, guarded) == [None]
    assert seconds(found, plain, tgda, plain) == [21.0, None, 0.0]
    assert seconds(estimator(lr=10.0), plain) == [None]
    assert estimator(lr=10.0).costs([plain]) == [Cost(None, None)]


def test_a_model_is_calibrated_once_and_only_if_no_record_tells() -> None:
    calibration = Calibration(nn=100.0, cnn=1000.0)
    found = Estimator(calibration)
    found.learn([record(made()[0])])
    wanted = made(model=["lr", "nn", "cnn"], seeds=[0, 1])
    assert seconds(found, *wanted) == [21.0, 21.0, 210.0, 210.0, 2100.0, 2100.0]
    assert calibration.asked == ["nn", "cnn"]
    assert seconds(found, *made(model="cnn")) == [2100.0]
    assert calibration.asked == ["nn", "cnn"]


def test_a_surrogate_is_trained_as_well_and_tells_nothing_of_its_attack() -> None:
    (transfer,), (plain,) = made(surrogate="nn"), made(model="nn")
    crafted = record(plain, 100.0, 40.0)
    assert seconds(estimator(crafted, record(transfer, 10.0, 777.0)), transfer) == [10.0 + 100.0 + 40.0 + 10.0]
    assert seconds(estimator(record(transfer, 10.0, 777.0), nn=100.0), transfer) == [None]
    alone = Calibration(nn=100.0)
    found = Estimator(alone)
    found.learn([record(made()[0])])
    assert seconds(found, transfer) == [10.0 + 100.0 + 10.0 + 10.0]  # the attack by its ratio of 0.1, on nn
    assert alone.asked == ["nn"]


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "failed", "error": "boom", "metrics": None},
        {"status": "timeout", "error": "late", "metrics": None},
        {"status": "oom", "error": "large", "metrics": None},
        {"pretrain": None},
        {"pretrain": 0.0},
    ],
    ids=lambda changes: str(changes.get("status", "no training time")),
)
def test_a_failed_record_teaches_nothing(changes: dict[str, Any]) -> None:
    (cell,) = made()
    found = estimator(record(cell, attack=5.0, **changes) if "pretrain" in changes else record(cell, **changes), lr=1.0)
    assert found.costs([cell]) == [Cost(None, None)]


def test_a_stage_without_a_time_teaches_nothing_of_it() -> None:
    (cell,) = made()
    assert seconds(estimator(record(cell, attack=None)), cell) == [None]


def test_memory_is_the_largest_peak_of_that_attack_on_that_model_and_data() -> None:
    (cell,), (tgda,), (network,) = made(), made(attack="tgda"), made(model="nn")
    history = [record(cell, memory=300.0), record(cell, memory=400.0), record(tgda, memory=900.0)]
    found = estimator(*history, record(network, memory=None), nn=1.0)
    (other,), (elsewhere,) = made(attack="min-max"), made(protocol="mnist-v1")
    assert [cost.memory_mb for cost in found.costs([cell, tgda, other, network])] == [400.0, 900.0, 900.0, None]
    assert [cost.memory_mb for cost in estimator(*history, lr=1.0).costs([elsewhere])] == [None]


@pytest.mark.parametrize("train_rows", [None, 250])
def test_a_calibration_scales_a_few_steps_to_the_whole_training(
    monkeypatch: pytest.MonkeyPatch, train_rows: int | None
) -> None:
    calls, clock = [], [100.0]

    def train(model: Model, rows: Any, recipe: Any, stage: Any, task: str) -> None:
        calls.append((len(rows), recipe.epochs, recipe.batch_size))
        clock[0] += 7.0 if len(calls) == 1 else 0.5  # the first warms up

    monkeypatch.setattr(estimate, "train", train)
    monkeypatch.setattr(estimate, "time", SimpleNamespace(thread_time=lambda: clock[0]))
    (cell,), digits = made(set={"recipe.epochs": 30, "train_rows": train_rows}), prepare("digits", DataOptions())
    found = training_time(cell, load("model", "lr"), digits, torch.device("cpu"))
    assert calls == [(100 * CALIBRATION_BATCHES, 1, 100)] * TRIES
    n_train = train_rows or len(digits.train) - round(0.3 * len(digits.train))
    assert found == pytest.approx(0.5 * 30 * n_train / (100 * CALIBRATION_BATCHES))


def test_a_calibration_does_not_count_the_time_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a busy machine does to it: this thread waits for a core."""
    (cell,), digits, real = made(), prepare("digits", DataOptions()), estimate.train

    def interrupted(*arguments: Any) -> Any:
        time.sleep(0.2)
        return real(*arguments)

    alone = training_time(cell, load("model", "lr"), digits, torch.device("cpu"))
    monkeypatch.setattr(estimate, "train", interrupted)
    beside = training_time(cell, load("model", "lr"), digits, torch.device("cpu"))
    assert beside < alone + 2  # waiting alone would make it 5 s and more


def test_a_calibration_leaves_the_global_stream_alone() -> None:
    (cell,), digits, before = made(), prepare("digits", DataOptions()), torch.get_rng_state()
    assert training_time(cell, load("model", "lr"), digits, torch.device("cpu")) > 0.0
    assert torch.equal(torch.get_rng_state(), before)
