"""Every registered attack keeps the contract."""

from pathlib import Path

import pytest

from poisonbench.attacks.back_gradient.attack import BackGradient
from poisonbench.attacks.clean_copies import CleanCopies
from poisonbench.attacks.emn import EMN
from poisonbench.attacks.gradient_canceling.attack import GradientCanceling
from poisonbench.attacks.gradient_matching import GradientMatching
from poisonbench.attacks.influence_attack.attack import InfluenceAttack
from poisonbench.attacks.kkt.attack import KKT
from poisonbench.attacks.label_flip import LabelFlip
from poisonbench.attacks.metapoison.attack import MetaPoison
from poisonbench.attacks.min_max.attack import MinMax
from poisonbench.attacks.min_max.improved import IMinMax
from poisonbench.attacks.model_targeted.attack import ModelTargeted
from poisonbench.attacks.pgan.attack import PGAN
from poisonbench.attacks.poison_svm.attack import PoisonSVM
from poisonbench.attacks.rem import REM
from poisonbench.attacks.replay import Replay
from poisonbench.attacks.tap import TAP
from poisonbench.attacks.tgda.attack import TGDA
from poisonbench.plugins.registry import entries, load
from poisonbench.problem.threat import Mode
from poisonbench.testing import AttackContract, Game

# Every row a subclass, so that a failure names the row; small enough for a second each.
SMALL = {"epochs": 2, "pretrain_epochs": 2, "n": 2, "max_steps": 4}


class TestLabelFlipRule(AttackContract):
    attack = LabelFlip()


class TestLabelFlipRandom(AttackContract):
    attack = LabelFlip(flip="random", class_weights=(1.0, 0.5, 0.25, 2.0))


class TestLabelFlipWorst(AttackContract):
    attack = LabelFlip(flip="worst")


class TestLabelFlipAdversarialOfAnSVM(AttackContract):
    attack = LabelFlip(flip="adversarial", repetitions=2)
    game = Game(model="svm")


class TestLabelFlipAdversarialOfANetwork(AttackContract):
    attack = LabelFlip(flip="adversarial")
    game = Game(model="nn")


class TestLabelFlipWorstOfANetwork(AttackContract):
    attack = LabelFlip(flip="worst")
    game = Game(model="nn")


class TestCleanCopies(AttackContract):
    attack = CleanCopies()
    game = Game(radius=0.01)


class TestTGDA(AttackContract):
    attack = TGDA(**SMALL)


class TestTGDAAsReleased(AttackContract):
    attack = TGDA(epochs=2, pretrain_epochs=1, n=2, solver="cgnr", max_steps=3, damping=0.0, rtol=0.0)


class TestTGDANeumann(AttackContract):
    attack = TGDA(**SMALL, solver="neumann", m=2)


class TestTGDAWithoutPretraining(AttackContract):
    attack = TGDA(epochs=2, pretrain_epochs=0, n=2, solver="exact", batch_size=32)


class TestTGDAAsFRWithADefenderWhoMovesFirst(AttackContract):
    attack = TGDA(**SMALL, dynamics="fr", first="defender", objective="zero-sum", start="cold")


class TestTGDAAsGDNInPartitions(AttackContract):
    attack = TGDA(epochs=1, pretrain_epochs=1, n=1, max_steps=2, dynamics="gdn", partitions=2, start="reset")


class TestTGDAMakesUnlearnableExamplesWithinARadius(AttackContract):
    attack = TGDA(epochs=1, pretrain_epochs=1, n=2, mode=Mode.PERTURBATION, objective="zero-sum", radius=0.1)
    game = Game(epsilon=0.5)


class TestTGDAAgainstAVictimThatAugments(AttackContract):
    attack = TGDA(epochs=2, pretrain_epochs=1, n=1, m=2, max_steps=2, dynamics="fr")
    game = Game(augmentation="flips-and-crops")


class TestTGDAOnACNN(AttackContract):
    attack = TGDA(**SMALL)
    game = Game(model="cnn", n_train=20, n_validation=16)


class TestTGDAOnColourImages(AttackContract):
    attack = TGDA(**SMALL)
    game = Game(shape=(3, 8, 8), n_train=24, n_validation=16)


class TestEMN(AttackContract):
    attack = EMN(M=3, steps=3, max_rounds=3, stop_error=0.0)


class TestEMNClassWiseOnASubset(AttackContract):
    attack = EMN(noise="class-wise", radius=0.1, M=3, steps=3, max_rounds=3, stop_error=0.0, subset=0.5)


class TestEMNUnlearnable(AttackContract):
    attack = EMN(mode=Mode.PERTURBATION, M=3, steps=3, max_rounds=3, stop_error=0.0)
    game = Game(epsilon=1.0)


class TestEMNThatStopsEarly(AttackContract):
    attack = EMN(radius=0.2, alpha=0.02, M=5, max_rounds=20, stop_error=0.3)


class TestInfluenceAttack(AttackContract):
    attack = InfluenceAttack(steps=3, retraining=5, max_steps=5)


class TestInfluenceAttackOnAnSVMWithinASphere(AttackContract):
    attack = InfluenceAttack(steps=3, retraining=5, max_steps=5, points=2, feasible="sphere-slab", removed=0.3)
    game = Game(model="svm", radius=0.3)


class TestTAP(AttackContract):
    attack = TAP(steps=4, restarts=2)


class TestTAPUntargetedMakesUnlearnableExamples(AttackContract):
    attack = TAP(objective="untargeted", mode=Mode.PERTURBATION, radius=0.3, steps=3)
    game = Game(model="nn", epsilon=1.0, radius=0.1)


class TestREM(AttackContract):
    attack = REM(epochs=1, steps=3, adversary_steps=2, batch_size=16)


class TestREMAgainstAVictimThatAugments(AttackContract):
    attack = REM(epochs=1, J=2, steps=2, adversary_steps=2, batch_size=16)
    game = Game(augmentation="flips-and-crops")


class TestREMMakesUnlearnableExamples(AttackContract):
    attack = REM(mode=Mode.PERTURBATION, radius=0.3, adversary_radius=0.15, epochs=1, steps=3, batch_size=16)
    game = Game(model="nn", epsilon=1.0, radius=0.1)


class TestEMNOnANetworkWithinARadius(AttackContract):
    attack = EMN(radius=0.2, alpha=0.02, M=3, steps=3, max_rounds=3, stop_error=0.0)
    game = Game(model="nn", radius=0.1)


class TestMetaPoison(AttackContract):
    attack = MetaPoison(steps=3, M=3, epochs=3)


class TestMetaPoisonOnAPoisonedTrajectory(AttackContract):
    attack = MetaPoison(steps=3, M=2, epochs=2, advance=0.5, trajectory="poisoned")
    game = Game(model="nn")


class TestMetaPoisonOnACNN(AttackContract):
    attack = MetaPoison(steps=2, M=2, epochs=2)
    game = Game(model="cnn", n_train=20, n_validation=16)


class TestMetaPoisonWithinARadius(AttackContract):
    attack = MetaPoison(steps=3, M=2, epochs=2, radius=0.5)
    game = Game(radius=0.1)


class TestBackGradient(AttackContract):
    attack = BackGradient(T=5, iterations=3)


class TestBackGradientAsReleased(AttackContract):
    attack = BackGradient(**{**BackGradient.presets["released"], "T": 4, "iterations": 2})
    game = Game(classes=2, epsilon=0.05)


class TestBackGradientAsReleasedForNetworks(AttackContract):
    attack = BackGradient(**{**BackGradient.presets["released-mlp"], "T": 3, "iterations": 2})
    game = Game(model="nn", epsilon=0.05)


class TestBackGradientGreedy(AttackContract):
    attack = BackGradient(T=3, iterations=2, start="scratch", step="raw", alpha=10.0, flip="rule", greedy=True)


class TestBackGradientWithinARadius(AttackContract):
    attack = BackGradient(T=5, iterations=3, step="sign", start="clean", poison_batch_size=2)
    game = Game(radius=0.1)


class TestBackGradientOnANetwork(AttackContract):
    attack = BackGradient(T=4, iterations=3, flip="worst")
    game = Game(model="nn")


class TestBackGradientOnACNN(AttackContract):
    attack = BackGradient(T=4, iterations=2, poison_batch_size=1)
    game = Game(model="cnn", n_train=20, n_validation=16)


class TestMinMax(AttackContract):
    attack = MinMax(steps=4)


class TestMinMaxWithAPointAStep(AttackContract):
    attack = MinMax(steps=0, burn_in=0.5, feasible="sphere")
    game = Game(model="svm")


class TestMinMaxWithARadius(AttackContract):
    attack = MinMax(steps=4, feasible="sphere")
    game = Game(radius=0.1)


class TestMinMaxAsReleased(AttackContract):
    attack = MinMax(**MinMax.presets["released"])


class TestMinMaxOnANetwork(AttackContract):
    attack = MinMax(steps=4, ascent_steps=2)
    game = Game(model="cnn", radius=0.1)


class TestIMinMax(AttackContract):
    attack = IMinMax(steps=2, quantiles=(0.5,), repetitions=(1, 4), decoy_epochs=2, tau=2.8)


class TestIMinMaxWithDecoysFromScratch(AttackContract):
    attack = IMinMax(steps=2, quantiles=(0.5,), repetitions=(4,), decoy_epochs=0, trials=1, tau=2.8)
    game = Game(model="svm")


class TestIMinMaxWithARadiusAndObservedPixels(AttackContract):
    attack = IMinMax(steps=2, quantiles=(0.5,), repetitions=(1,), decoy_epochs=2, trials=1, tau=2.8, pixels="observed")
    game = Game(radius=0.1)


class TestIMinMaxOnANetwork(AttackContract):
    attack = IMinMax(steps=2, quantiles=(0.5,), repetitions=(1, 4), decoy_epochs=2, ascent_steps=2, tau=2.8)
    game = Game(model="nn")


class TestKKT(AttackContract):
    attack = KKT(steps=4, rounds=2, quantiles=(0.5,), repetitions=(1, 4), decoy_epochs=2, trials=2)


class TestKKTOfTwoClassesOnAnSVMWithinARadius(AttackContract):
    attack = KKT(steps=4, quantiles=(0.5,), repetitions=(4,), decoy_epochs=0, trials=1)
    game = Game(model="svm", classes=2, radius=0.1)


class TestModelTargeted(AttackContract):
    attack = ModelTargeted(copies=3, quantiles=(0.5,), repetitions=(1, 4), decoy_epochs=2, trials=2)


class TestModelTargetedOnAnSVMThatStopsEarly(AttackContract):
    attack = ModelTargeted(copies=2, stop_distance=1e3, quantiles=(0.5,), repetitions=(4,), decoy_epochs=0, trials=1)
    game = Game(model="svm")


class TestModelTargetedWithinARadius(AttackContract):
    attack = ModelTargeted(copies=3, quantiles=(0.5,), repetitions=(4,), decoy_epochs=2, trials=1)
    game = Game(radius=0.1)


class TestGradientCanceling(AttackContract):
    attack = GradientCanceling(strengths=(0.1, 1.0), target_steps=4, steps=3)


class TestGradientCancelingInAnL2Ball(AttackContract):
    attack = GradientCanceling(bound="l2", strengths=(0.5,), target_steps=4, steps=3, labels="source")
    game = Game(model="nn")


DESCENT = {"target_steps": 4, "steps": 3, "optimizer": "descent", "rate": 0.0001}


class TestGradientCancelingAsReleased(AttackContract):
    attack = GradientCanceling(**GradientCanceling.presets["released"] | DESCENT)
    game = Game(model="nn")


class TestGradientCancelingInBatches(AttackContract):
    attack = GradientCanceling(strengths=(0.1,), target_batch=20, candidates=30, target_steps=30, steps=3)
    game = Game(model="nn")


class TestGradientCancelingWithARadius(AttackContract):
    attack = GradientCanceling(strengths=(0.1,), target_steps=4, steps=3)
    game = Game(model="cnn", n_train=24, n_validation=16, radius=0.1)


class TestGradientMatching(AttackContract):
    attack = GradientMatching(steps=4, restarts=2)


class TestGradientMatchingOfTheUnion(AttackContract):
    attack = GradientMatching(steps=4, matched="union", adversary="negative", radius=0.2)
    game = Game(model="cnn", n_train=24, n_validation=16, radius=0.1)


class TestGradientMatchingMakesUnlearnableExamples(AttackContract):
    attack = GradientMatching(mode=Mode.PERTURBATION, matched="poison", radius=0.1, steps=4, batch_size=25)
    game = Game(model="nn", epsilon=1.0)


class TestGradientMatchingOfGeipingsRestarts(AttackContract):
    attack = GradientMatching(**{**GradientMatching.presets["geiping"], "steps": 3, "restarts": 2})
    game = Game(shape=(3, 4, 4))


class TestPGAN(AttackContract):
    attack = PGAN(steps=6, batch_size=16, latent=8)


class TestPGANOfTwoClassesOnACNNWithinARadius(AttackContract):
    attack = PGAN(steps=4, latent=8, batch_size=0, alpha=0.5, generator_loss="minimax", Y_p=(1, 3))
    game = Game(model="cnn", n_train=24, n_validation=16, radius=0.1)


class TestPGANOnColourImages(AttackContract):
    attack = PGAN(steps=4, latent=8, batch_size=16)
    game = Game(shape=(3, 8, 8), n_train=24, n_validation=16)


class TestPoisonSVM(AttackContract):
    attack = PoisonSVM(iterations=4)
    game = Game(model="svm", classes=2)


class TestPoisonSVMInTheOriginalsOrder(AttackContract):
    attack = PoisonSVM(iterations=2, attacked="one", greedy=True)
    game = Game(classes=2, shape=(3, 4, 4), epsilon=0.05)


class TestPoisonSVMWithinARadius(AttackContract):
    attack = PoisonSVM(C=10.0, t=0.5, iterations=4)
    game = Game(model="nn", classes=2, radius=0.1)


class TestReplay(AttackContract):
    attack = Replay(file=str(Path(__file__).with_name("poison.npz")))


ROWS = {type(cls.attack) for cls in AttackContract.__subclasses__()}


@pytest.mark.parametrize("name", sorted(entries("attack")))
def test_every_attack_has_a_row_and_its_paper(name: str, bibliography: dict[str, str]) -> None:
    cls = load("attack", name)
    assert cls in ROWS, f"{name} has no row above"
    if name in ("clean-copies", "replay"):
        assert cls.paper is None, "a control is nobody's method"
        return
    assert cls.paper in bibliography, f"{name}: bibliography.yaml has no {cls.paper!r}"
    assert f"{{{cls.paper}," in bibliography[cls.paper], "the BibTeX key is another"


@pytest.mark.parametrize("name", sorted(entries("attack")))
def test_the_summary_is_one_plain_sentence(name: str) -> None:
    """`poisonbench list` shows the docstring's first sentence: no formula that runs on, nothing that wraps thrice."""
    summary = entries("attack")[name].summary
    assert len(summary) <= 120, summary
    assert summary.endswith(".")
    assert "  " not in summary
