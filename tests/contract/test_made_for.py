"""What a method declares to be made for is held to before any work, whatever asks for the cell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from poisonbench.defenses.trim import Trim
from poisonbench.errors import ConfigError, PluginError
from poisonbench.experiment.cell import build
from poisonbench.experiment.made_for import ANY, named_models, refuse_other_surrogates, refuse_other_targets
from poisonbench.experiment.protocol import resolve
from poisonbench.experiment.runner import Runner
from poisonbench.models.linear import LinearModel
from poisonbench.models.lr import LogisticRegression
from poisonbench.models.svm import LinearSVM
from poisonbench.plugins import registry
from poisonbench.plugins.registry import entries, load
from poisonbench.store.database import Store
from poisonbench.sweeps.grid import cells, grid

ATTACKS = {name: load("attack", name).models for name in entries("attack")}
DEFENSES = {name: load("defense", name).target_models for name in entries("defense")}
MADE_FOR_SOME = [
    *(("attack", name, models) for name, models in ATTACKS.items() if models != ANY),
    *(("defense", name, models) for name, models in DEFENSES.items() if models != ANY),
]


def test_those_that_refuse_models_say_so() -> None:
    assert {name for _, name, _ in MADE_FOR_SOME} >= {"kkt", "model-targeted", "poison-svm", "roni", "trim"}


@pytest.mark.parametrize("model", entries("model"))
@pytest.mark.parametrize(("kind", "name", "declared"), MADE_FOR_SOME)
def test_every_other_model_is_refused(kind: str, name: str, declared: str, model: str) -> None:
    """In a line that says what to take; and those that are declared are not."""
    names = named_models(declared)
    assert names
    asked = {"attack": "label-flip", kind: [name], "model": model, "seeds": 0}
    if model in names:
        assert len(cells(grid(asked, ""), "")) == 1
        return
    with pytest.raises(ConfigError, match=rf"^{name} is made for .*, not for {model}\. Use --model ") as refused:
        cells(grid(asked, ""), "")
    assert all(one in str(refused.value) for one in names)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("combined", ["loss+trim", "trim+maxup"])
def test_a_part_refuses_as_well(combined: str) -> None:
    with pytest.raises(ConfigError, match=r"^trim is made for lr or svm, not for nn"):
        build(resolve("digits", ()), "label-flip", combined, 0.03, 0, model="nn")


def test_a_grid_is_refused_as_a_whole_and_what_is_left_out_is_not_asked_for() -> None:
    asked = {"attack": ["kkt", "label-flip"], "model": ["lr", "nn"], "seeds": 0}
    with pytest.raises(ConfigError, match=r"^mine\.yaml: kkt is made for lr or svm, not for nn.*`exclude`"):
        cells(grid(asked, "mine.yaml"), "mine.yaml")
    assert len(cells(grid({**asked, "exclude": [{"attack": "kkt", "model": "nn"}]}, "mine.yaml"), "mine.yaml")) == 3


def test_an_attack_is_made_for_what_it_is_crafted_on() -> None:
    rules = resolve("digits", ())
    assert build(rules, "kkt", "none", 0.03, 0, model="nn", surrogate="svm").transfer == "svm"
    with pytest.raises(ConfigError, match="--surrogate lr or svm"):
        build(rules, "kkt", "none", 0.03, 0, model="lr", surrogate="nn")


def test_a_defense_that_is_known_is_rehearsed_on_the_surrogate() -> None:
    rules = resolve("digits", ())
    assert build(rules, "label-flip", "trim", 0.03, 0, model="lr", surrogate="nn")
    with pytest.raises(ConfigError, match=r"^trim is made for lr or svm, not for nn"):
        build(rules, "tgda", "trim", 0.03, 0, model="lr", surrogate="nn", knows="same")


class Linear(LinearModel):
    """A plugin's, with cross entropy."""


class Hinge(LinearSVM):
    """A plugin's that is an SVM."""


class Squared(LinearModel):
    """Of a third loss."""

    def losses(self, logits: Tensor, y: Tensor) -> Tensor:
        return (logits.gather(1, y[:, None])[:, 0] - 1).square()


def test_a_plugins_model_may_be_like_one_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for model in (Linear, Squared):
        monkeypatch.setitem(registry._registered, model, "mine")
    for model in (Linear, Hinge, LogisticRegression):
        refuse_other_targets(Trim(), model)
        refuse_other_surrogates(load("attack", "kkt")(), model)
    poison_svm = load("attack", "poison-svm")()
    refuse_other_surrogates(poison_svm, Hinge)
    with pytest.raises(ConfigError, match="not for mine"):
        refuse_other_targets(Trim(), Squared)
    with pytest.raises(ConfigError, match="not for mine"):
        refuse_other_surrogates(poison_svm, Linear)


def test_what_a_plugin_declares_wrongly_is_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trim, "target_models", ("lr", "svm"))
    with pytest.raises(PluginError, match=r"^trim names the models that it is made for as one text"):
        refuse_other_targets(Trim(), LogisticRegression)
    monkeypatch.setattr(Trim, "target_models", "trees")
    with pytest.raises(ConfigError, match=r"^trim is made for trees, not for lr"):
        refuse_other_targets(Trim(), LogisticRegression)


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ({"attack": "poison-svm", "model": "svm"}, {}, "poison-svm needs two classes, this dataset has 10"),
        ({"attack": "back-gradient", "model": "nn"}, {"attack.start": ["zero"]}, "attack.start: zero needs a linear"),
        ({"attack": "min-max", "model": "nn"}, {"attack.feasible": ["sphere"]}, "attack.feasible: sphere needs"),
        ({"attack": "tap"}, {"attack.shift": [20]}, "attack.shift: 20 makes each of 10 classes its own target"),
        ({"attack": "pgan"}, {"attack.Y_p": [[10]]}, "attack.Y_p: expected classes of D_tr, 0 to 9"),
        (
            {"attack": "label-flip"},
            {"attack.flip": ["random"], "attack.class_weights": [[1.0, 1.0]]},
            "attack.class_weights: expected 10 weights, got 2",
        ),
        ({"attack": "label-flip", "defense": "dp-sgd", "model": "resnet18"}, {}, "the model 'resnet18' mixes rows"),
        ({"attack": "label-flip", "defense": "l2+dp-sgd", "model": "resnet18"}, {}, "the model 'resnet18' mixes rows"),
    ],
)
def test_fields_that_do_not_go_with_model_or_dataset_are_refused_before_work(
    method: dict[str, Any], settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    (cell,) = cells(grid({**method, "set": settings, "seeds": 0}, ""), "")
    with Store.open(str(tmp_path / "store")) as store, pytest.raises(ConfigError) as refused:
        Runner(store, device=torch.device("cpu")).prepare([cell])
    assert message in str(refused.value)
