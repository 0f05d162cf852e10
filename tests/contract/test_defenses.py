"""Every registered defense keeps the contract."""

from dataclasses import replace

import pytest
import torch

from poisonbench.defenses.adversarial_training import AdversarialTraining
from poisonbench.defenses.aggregation.dpa import DPA
from poisonbench.defenses.aggregation.finite_aggregation import FiniteAggregation
from poisonbench.defenses.base import known_to
from poisonbench.defenses.dp_sgd import DPSGD
from poisonbench.defenses.early_stopping import EarlyStopping
from poisonbench.defenses.epic import EPIc
from poisonbench.defenses.friendly_noise import FriendlyNoise
from poisonbench.defenses.influence.defense import Influence
from poisonbench.defenses.loss import LossDefense
from poisonbench.defenses.maxup.defense import MaxUp
from poisonbench.defenses.mixing import CutMix, Mixup
from poisonbench.defenses.none import NoDefense
from poisonbench.defenses.perfect_filter import PerfectFilter
from poisonbench.defenses.random_filter import RandomFilter
from poisonbench.defenses.roni import RONI
from poisonbench.defenses.sanitizers.knn import KNN
from poisonbench.defenses.sanitizers.l2 import L2
from poisonbench.defenses.sanitizers.slab import Slab
from poisonbench.defenses.sanitizers.spectral_signatures import SpectralSignatures
from poisonbench.defenses.sanitizers.svd import SVD
from poisonbench.defenses.sever.defense import Sever
from poisonbench.defenses.squeezing import Squeezing
from poisonbench.defenses.trim import Trim
from poisonbench.defenses.trimmed_loss import TrimmedLoss
from poisonbench.defenses.trusted_only import TrustedOnly
from poisonbench.plugins.registry import entries, load
from poisonbench.problem.predictor import models_of
from poisonbench.problem.procedure import Procedure
from poisonbench.problem.samples import Samples, Weights
from poisonbench.seeding import child_generator
from poisonbench.stages.stage import Stage
from poisonbench.testing import DefenseContract, Game
from poisonbench.training import train


class TestNoDefense(DefenseContract):
    defense = NoDefense()


class TestTrustedOnly(DefenseContract):
    defense = TrustedOnly()


class TestLoss(DefenseContract):
    defense = LossDefense(fraction=0.1)


class TestLossOnAnSVM(DefenseContract):
    defense = LossDefense(rounds=2)
    game = Game(model="svm")


class TestRONI(DefenseContract):
    defense = RONI(training=2, quiz=4, calibration=4, deviations=1.0)


class TestRONIOnAnSVM(DefenseContract):
    defense = RONI(trials=2)
    game = Game(model="svm", augmentation="flips-and-crops")


class TestTrim(DefenseContract):
    defense = Trim(fraction=0.1)


class TestTrimOnAnSVM(DefenseContract):
    defense = Trim(fraction=0.2, balanced=True, decay=0.01)
    game = Game(model="svm")


class TestTrimmedLoss(DefenseContract):
    defense = TrimmedLoss(fraction=0.1, rounds=2)


class TestTrimmedLossOnACNN(DefenseContract):
    defense = TrimmedLoss(fraction=0.1, rounds=1, balanced=True)
    game = Game(model="cnn", n_train=24)


class TestInfluence(DefenseContract):
    defense = Influence()


class TestInfluenceByTheHessianInRounds(DefenseContract):
    defense = Influence(fraction=0.05, rounds=2, influence="absolute", curvature="hessian")
    game = Game(model="nn", n_train=24)


class TestSelfInfluenceOnACNN(DefenseContract):
    defense = Influence(influence="self", rank=16)
    game = Game(model="cnn", n_train=24)


class TestSever(DefenseContract):
    defense = Sever(fraction=0.07)  # one row of each class in each of 4 rounds


class TestSeverPooled(DefenseContract):
    defense = Sever(**Sever.presets["pooled"])


class TestSeverPooledInRounds(DefenseContract):
    defense = Sever(fraction=0.05, rounds=2, balanced=False, per_class=False)


class TestSeverOnACNN(DefenseContract):
    defense = Sever(fraction=0.16, rounds=2)
    game = Game(model="cnn", n_train=24)


class TestMaxUp(DefenseContract):
    defense = MaxUp()


class TestMaxUpOnAnSVM(DefenseContract):
    defense = MaxUp(m=3, augmentation="crop-flip", clean=False)
    game = Game(model="svm", shape=(3, 8, 8))


class TestMaxUpOnACNN(DefenseContract):
    defense = MaxUp(m=2, augmentation="affine")
    game = Game(model="cnn", n_train=24)


class TestDPA(DefenseContract):
    defense = DPA(k=3)


class TestDPAOnACNN(DefenseContract):
    defense = DPA(k=2)
    game = Game(model="cnn", n_train=24)


class TestFiniteAggregation(DefenseContract):
    defense = FiniteAggregation(k=3, d=2)


class TestDPSGD(DefenseContract):
    defense = DPSGD(clip=0.3)


class TestDPSGDOnACNN(DefenseContract):
    defense = DPSGD()
    game = Game(model="cnn", n_train=24)


class TestAdversarialTraining(DefenseContract):
    defense = AdversarialTraining(steps=2)


class TestEarlyStopping(DefenseContract):
    defense = EarlyStopping()


class TestFriendlyNoise(DefenseContract):
    defense = FriendlyNoise(warmup=1, steps=3)


class TestFriendlyNoiseOnACNN(DefenseContract):
    defense = FriendlyNoise(warmup=2, steps=2, distance="mse", noise="gaussian")
    game = Game(model="cnn", shape=(3, 4, 4), n_train=24, augmentation="flips-and-crops")


class TestEPIc(DefenseContract):
    defense = EPIc()


class TestEPIcOnACNN(DefenseContract):
    defense = EPIc(medoids=0.5)
    game = Game(model="cnn", n_train=24)


class TestMixup(DefenseContract):
    defense = Mixup()


class TestMixupOnAnSVM(DefenseContract):
    defense = Mixup(alpha=0.2)
    game = Game(model="svm")


class TestCutMix(DefenseContract):
    defense = CutMix()
    game = Game(model="nn", shape=(3, 8, 8), n_train=24)


class TestSqueezing(DefenseContract):
    defense = Squeezing()


class TestSqueezingGray(DefenseContract):
    defense = Squeezing(squeeze="gray", tested=True)
    game = Game(shape=(3, 8, 8), augmentation="flips-and-crops")


class TestL2(DefenseContract):
    defense = L2(fraction=0.1)


class TestSlabOnFeatures(DefenseContract):
    defense = Slab(fraction=0.2, space="features")
    game = Game(model="nn", n_train=24)


class TestKNN(DefenseContract):
    defense = KNN(fraction=0.1)


class TestKNNDisagreementOnColourFeatures(DefenseContract):
    defense = KNN(fraction=0.2, space="features", measure="disagreement")
    game = Game(model="cnn", shape=(3, 4, 4), n_train=24)


class TestSVD(DefenseContract):
    defense = SVD(fraction=0.1)


class TestSpectralSignatures(DefenseContract):
    defense = SpectralSignatures(fraction=0.2)
    game = Game(model="nn", n_train=24)


class TestRandomFilter(DefenseContract):
    defense = RandomFilter(fraction=0.1)


class TestPerfectFilter(DefenseContract):
    defense = PerfectFilter()


ROWS = {type(cls.defense) for cls in DefenseContract.__subclasses__()}


@pytest.mark.parametrize("name", sorted(entries("defense")))
def test_every_defense_has_a_row_and_its_paper(name: str, bibliography: dict[str, str]) -> None:
    cls = load("defense", name)
    assert cls in ROWS, f"{name} has no row above"
    if name in ("trusted-only", "random-filter", "perfect-filter"):
        assert cls.paper is None, "a control is nobody's method"
        return
    assert cls.paper in bibliography, f"{name}: bibliography.yaml has no {cls.paper!r}"
    assert f"{{{cls.paper}," in bibliography[cls.paper], "the BibTeX key is another"


@pytest.mark.gpu
@pytest.mark.parametrize("row", DefenseContract.__subclasses__(), ids=lambda row: row.__name__)
def test_it_runs_on_a_gpu(row: type[DefenseContract]) -> None:
    game, device = row.game, torch.device("cuda")
    view = known_to(row.defense, game.defender())
    view = replace(view, train=view.train.to(device), trusted=view.trusted.to(device))

    def fit(samples: Samples, procedure: Procedure | None = None) -> Weights:
        return train(game.target(), samples, game.recipe, Stage(child_generator(0, "train"), device), "fit", procedure)

    defended = row.defense.defend(view, fit, Stage(child_generator(0, "defense"), device))
    for weights in models_of(defended.predictor):
        assert {value.device.type for value in weights.values()} == {"cuda"}
    assert defended.kept.device.type == "cuda"
