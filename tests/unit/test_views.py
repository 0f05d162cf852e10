"""What is withheld: a training-data-only attacker has D_tr and the number of classes, and no way to more."""

import copy
import pickle
from dataclasses import fields, replace

import pytest
import torch

from poisonbench.defenses.base import known_to
from poisonbench.defenses.none import NoDefense
from poisonbench.errors import UndeclaredKnowledgeError, ValidationError
from poisonbench.experiment.rehearsal import Rehearsal
from poisonbench.problem.threat import ThreatModel
from poisonbench.problem.views import AttackerView, Withheld, data_only
from poisonbench.testing import Game


@pytest.fixture(scope="module")
def views() -> tuple[AttackerView, AttackerView]:
    view = Game().attacker(ThreatModel())
    informed = replace(view, rehearse=Rehearsal(NoDefense(), view.model, view.recipe, view.classes, view.validation))
    return informed, data_only(informed)


def test_only_the_training_set_and_the_classes_are_left(views: tuple[AttackerView, AttackerView]) -> None:
    informed, view = views
    assert view.train is informed.train
    assert view.classes == informed.classes == 4
    assert (len(view.validation), view.weights, view.rehearse) == (0, {}, None)
    assert view.validation.x.shape == (0, *informed.validation.x.shape[1:])
    kept = {field.name for field in fields(view) if getattr(view, field.name) is getattr(informed, field.name)}
    assert kept == {"train", "classes"}
    assert len(informed.validation) == 40, "the view that it is made of is as it was"
    assert informed.weights


@pytest.mark.parametrize("what", ["model", "recipe"])
def test_whoever_asks_for_the_rest_is_told_what_to_declare(views: tuple[AttackerView, AttackerView], what: str) -> None:
    withheld = getattr(views[1], what)
    for name in ("forward", "epochs", "shape", "_what_else"):
        with pytest.raises(UndeclaredKnowledgeError) as error:
            getattr(withheld, name)
        assert str(error.value) == (
            f"A training-data-only attacker knows no {what}. Declare Knowledge.TRAINING_ONLY in `threat`."
        )
        assert isinstance(error.value, ValidationError)
    with pytest.raises(UndeclaredKnowledgeError):
        hasattr(withheld, "forward")  # else an attack could ask politely and take another road
    assert repr(withheld) == f"<{what}: withheld>"


def test_rows_that_are_withheld_share_no_memory_with_those_that_are_there(
    views: tuple[AttackerView, AttackerView],
) -> None:
    """A slice of a tensor leads back to the whole of it: through its storage."""
    informed, view = views
    defender = Game().defender()
    for name in ("x", "y", "ids"):
        for empty, full in (
            (view.validation, informed.validation),
            (known_to(NoDefense(), defender).trusted, defender.trusted),
        ):
            assert getattr(full, name).untyped_storage().nbytes() > 0
            assert getattr(empty, name).untyped_storage().nbytes() == 0
            assert getattr(empty, name).dtype is getattr(full, name).dtype


def test_a_view_travels_to_a_worker(views: tuple[AttackerView, AttackerView]) -> None:
    for again in (pickle.loads(pickle.dumps(views[1])), copy.deepcopy(views[1])):
        assert torch.equal(again.train.x, views[1].train.x)
        assert isinstance(again.model, Withheld)
        with pytest.raises(UndeclaredKnowledgeError, match="knows no recipe"):
            _ = again.recipe.epochs
