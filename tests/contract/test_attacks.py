"""Every registered attack keeps the contract."""

import pytest

from poisonbench.attacks.label_flip import LabelFlip
from poisonbench.attacks.tgda import TGDA
from poisonbench.registry import entries, load
from poisonbench.testing import AttackContract, Game

# Every row a subclass, so that a failure names the row; small enough for a second each.
SMALL = {"epochs": 2, "pretrain_epochs": 2, "n": 2, "max_steps": 4}


class TestLabelFlipRule(AttackContract):
    attack = LabelFlip()


class TestLabelFlipRandom(AttackContract):
    attack = LabelFlip(flip="random", class_weights=(1.0, 0.5, 0.25, 2.0))


class TestLabelFlipWorst(AttackContract):
    attack = LabelFlip(flip="worst")


class TestLabelFlipWorstOfANetwork(AttackContract):
    attack = LabelFlip(flip="worst")
    game = Game(model="nn")


class TestTGDA(AttackContract):
    attack = TGDA(**SMALL)


class TestTGDAAsReleased(AttackContract):
    attack = TGDA(epochs=2, pretrain_epochs=1, n=2, solver="cgnr", max_steps=3, damping=0.0, rtol=0.0)


class TestTGDANeumann(AttackContract):
    attack = TGDA(**SMALL, solver="neumann", m=2)


class TestTGDAWithoutPretraining(AttackContract):
    attack = TGDA(epochs=2, pretrain_epochs=0, n=2, solver="exact", batch_size=32)


class TestTGDAOnACNN(AttackContract):
    attack = TGDA(**SMALL)
    game = Game(model="cnn", n_train=20, n_validation=16)


class TestTGDAOnColourImages(AttackContract):
    attack = TGDA(**SMALL)
    game = Game(shape=(3, 8, 8), n_train=24, n_validation=16)


ROWS = {type(cls.attack) for cls in AttackContract.__subclasses__()}


@pytest.mark.parametrize("name", sorted(entries("attack")))
def test_every_attack_has_a_row_and_its_paper(name: str, bibliography: dict[str, str]) -> None:
    cls = load("attack", name)
    assert cls in ROWS, f"{name} has no row above"
    assert cls.paper in bibliography, f"{name}: bibliography.yaml has no {cls.paper!r}"
    assert f"{{{cls.paper}," in bibliography[cls.paper], "the BibTeX key is another"
