"""What every attack keeps, whatever ε, radius, model and device are."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import HealthCheck, given, settings

from poisonbench.attacks.back_gradient.attack import BackGradient
from poisonbench.attacks.base import Attack
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
from poisonbench.attacks.tap import TAP
from poisonbench.attacks.tgda.attack import TGDA
from poisonbench.plugins.registry import entries, name_of
from poisonbench.problem.samples import PoisonSet
from poisonbench.problem.threat import ThreatModel
from poisonbench.problem.views import AttackerView
from poisonbench.seeding import child_generator
from poisonbench.stages.stage import Stage
from poisonbench.store.artifacts import ArtifactFolder
from poisonbench.testing import Game

SMALL: list[Attack] = [
    BackGradient(T=2, iterations=2),
    CleanCopies(),
    EMN(max_rounds=1, steps=3, alpha=0.2, radius=1.0),
    GradientCanceling(strengths=(1.0,), target_steps=4, steps=3),
    GradientMatching(steps=3),
    IMinMax(steps=3, quantiles=(0.5,), repetitions=(3,), decoy_epochs=1, trials=1, tau=2.0),
    KKT(steps=3, rounds=2, quantiles=(0.5,), repetitions=(3,), decoy_epochs=1, trials=1),
    InfluenceAttack(steps=3, retraining=3, max_steps=3),
    LabelFlip(),
    MetaPoison(M=2, epochs=2, steps=2, radius=1.0),
    MinMax(steps=3),
    ModelTargeted(stop_distance=0.0, quantiles=(0.5,), repetitions=(3,), decoy_epochs=1, trials=1, copies=20),
    PGAN(steps=2, batch_size=16, latent=8),
    PoisonSVM(iterations=3, t=1.0),
    REM(epochs=1, steps=3, adversary_steps=2, radius=1.0, rate=1.0),
    TAP(steps=3, radius=1.0),
    TGDA(epochs=1, pretrain_epochs=1, n=1, max_steps=2),
]


def classes(attack: Attack) -> int:
    return 2 if isinstance(attack, PoisonSVM) else 4


def fitting(attack: Attack, model: str) -> str:
    """That model, or one that the attack is for."""
    return "svm" if isinstance(attack, KKT | ModelTargeted) and model not in ("lr", "svm") else model


@cache
def view(model: str, classes: int, device: str = "cpu") -> AttackerView:
    seen, there = Game(model=model, classes=classes).attacker(ThreatModel()), torch.device(device)
    weights = {name: value.to(there) for name, value in seen.weights.items()}
    return replace(seen, train=seen.train.to(there), validation=seen.validation.to(there), weights=weights)


def test_every_attack_is_here() -> None:
    """But for the one that makes nothing: what it replays keeps bounds or is refused (tests/unit/test_replay.py)."""
    assert {name_of(type(attack)) for attack in SMALL} == set(entries("attack")) - {"replay"}


@pytest.mark.parametrize("attack", SMALL, ids=lambda attack: name_of(type(attack)))
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    epsilon=st.floats(0.02, 1.0),
    radius=st.none() | st.floats(0.001, 1.0),
    own=st.floats(0.001, 1.0),
    model=st.sampled_from(["lr", "svm", "nn"]),
)
def test_bounds_hold_on_the_stored_set(
    tmp_path: Path, attack: Attack, epsilon: float, radius: float | None, own: float, model: str
) -> None:
    """Count, box, L∞ distance to the source: of the protocol's radius, and of the attack's own where it has one."""
    if hasattr(attack, "radius"):
        attack = replace(attack, radius=own)
    game = Game(model=fitting(attack, model), classes=classes(attack), epsilon=epsilon, radius=radius)
    budget, seen = game.budget(attack.threat), view(game.model, game.classes)
    poison = attack.craft(seen, budget, Stage(child_generator(0, "attack")))

    store = ArtifactFolder(tmp_path)
    kept = store.put({"x": poison.x, "y": poison.y, "source": poison.source}, "poison")
    stored = PoisonSet(**store.get(kept.sha256))
    seen_by_us = budget.verify(stored, seen.train, name_of(type(attack)))
    assert seen_by_us["n_poison"] == budget.n_poison
    bounds = [bound for bound in (radius, own if hasattr(attack, "radius") else None) if bound is not None]
    if bounds:
        distance = (stored.x - seen.train.x[stored.source]).abs().max()
        assert float(distance) <= min(bounds) + 1e-6
        assert bool((stored.source >= 0).all())
    assert float(torch.clamp(stored.x, 0, 1).sub(stored.x).abs().max()) == 0


@pytest.mark.gpu
@pytest.mark.parametrize("model", ["lr", "nn", "cnn"])
@pytest.mark.parametrize("attack", SMALL, ids=lambda attack: name_of(type(attack)))
def test_it_runs_on_a_gpu(attack: Attack, model: str) -> None:
    game = Game(model=fitting(attack, model), classes=classes(attack))
    budget, device = game.budget(attack.threat), torch.device("cuda")
    poison = attack.craft(view(game.model, game.classes, "cuda"), budget, Stage(child_generator(0, "attack"), device))
    assert {part.device.type for part in (poison.x, poison.y, poison.source)} == {"cuda"}
    back = PoisonSet(poison.x.cpu(), poison.y.cpu(), poison.source.cpu(), poison.stats)
    budget.verify(back, view(game.model, game.classes).train, name_of(type(attack)))
