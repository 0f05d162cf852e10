"""Every registered defense keeps the contract."""

import pytest

from poisonbench.defenses.loss import LossDefense
from poisonbench.defenses.none import NoDefense
from poisonbench.defenses.sever import Sever
from poisonbench.registry import entries, load
from poisonbench.testing import DefenseContract, Game


class TestNoDefense(DefenseContract):
    defense = NoDefense()


class TestLoss(DefenseContract):
    defense = LossDefense(fraction=0.1)


class TestLossOnAnSVM(DefenseContract):
    defense = LossDefense(rounds=2)
    game = Game(model="svm")


class TestSever(DefenseContract):
    defense = Sever()


class TestSeverInRounds(DefenseContract):
    defense = Sever(fraction=0.05, rounds=2)


class TestSeverPerClass(DefenseContract):
    defense = Sever(per_class=True)


class TestSeverOnACNN(DefenseContract):
    defense = Sever()
    game = Game(model="cnn", n_train=24)


ROWS = {type(cls.defense) for cls in DefenseContract.__subclasses__()}


@pytest.mark.parametrize("name", sorted(entries("defense")))
def test_every_defense_has_a_row_and_its_paper(name: str, bibliography: dict[str, str]) -> None:
    cls = load("defense", name)
    assert cls in ROWS, f"{name} has no row above"
    assert cls.paper in bibliography, f"{name}: bibliography.yaml has no {cls.paper!r}"
    assert f"{{{cls.paper}," in bibliography[cls.paper], "the BibTeX key is another"
