"""The KKT attack: its gradient, its shares, the grid, and targets that it can reach."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import nnls
from torch import Tensor

from poisonbench.attacks import decoy_trials
from poisonbench.attacks.evaluation import retrained_accuracy
from poisonbench.attacks.kkt.attack import KKT
from poisonbench.attacks.kkt.shares import best_shares, project_simplex, splits, whole
from poisonbench.attacks.kkt.stationarity import Stationarity
from poisonbench.errors import ConfigError
from poisonbench.models.base import Model
from poisonbench.models.linear_risk import Risk, layer
from poisonbench.plugins.registry import load
from poisonbench.problem.budget import Budget
from poisonbench.problem.effective_decay import effective_decay
from poisonbench.problem.samples import PoisonSet, Samples
from poisonbench.seeding import child_generator
from poisonbench.stages.stage import Stage
from poisonbench.testing import Game

f64 = torch.float64
DECAY = 0.05


def rows(seed: int, n: int, d: int, classes: int) -> Samples:
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand((n, 1, 1, d), generator=generator, dtype=f64)
    return Samples(x, torch.randint(0, classes, (n,), generator=generator), torch.arange(n))


def condition(name: str, d: int, classes: int, epsilon: float = 0.3) -> tuple[Stationarity, Samples]:
    """Some θ*, and the rows of a small D_tr."""
    generator = torch.Generator().manual_seed(7)
    model: Model = load("model", name)((1, 1, d), classes, (0.5,), (0.5,))
    train, theta = rows(0, 40, d, classes), torch.randn((classes, d + 1), generator=generator, dtype=f64)
    T = None if name == "lr" else 0.3
    risk = Risk.of(model, layer(theta), train, DECAY, T)
    gradient = risk.gradient(theta, risk.clean)[1] + epsilon * DECAY * theta
    return Stationarity(model, theta, gradient, epsilon, T), train


@pytest.mark.parametrize(("name", "classes"), [("lr", 2), ("lr", 4), ("svm", 3)])
def test_the_residual_is_the_gradient_of_the_risk_on_the_union(name: str, classes: int) -> None:
    """Times 1 + ε: of 40 rows and 12 points, copies of 4, by the risk's own gradient."""
    found, train = condition(name, 5, classes)
    points, copies = rows(3, 4, 5, classes), torch.tensor([3, 0, 7, 2])
    x, y = points.x.repeat_interleave(copies, 0), points.y.repeat_interleave(copies)
    risk = Risk.of(found.model, layer(found.theta), train.plus(Samples(x, y, y)), DECAY, found.temperature)
    expected = risk.gradient(found.theta, risk.clean)[1] * 1.3
    left = found.residual(points.x, points.y, (copies / 12).to(f64)[None])[0]
    torch.testing.assert_close(left, expected, rtol=0, atol=1e-7)  # shares are float32 quotients
    atoms = found.atoms(points.x, points.y)
    torch.testing.assert_close(found.gradient + 0.3 * (atoms * (copies / 12)[:, None, None]).sum(0), left)


@pytest.mark.parametrize("name", ["lr", "svm"])
def test_the_descent_is_by_finite_differences(name: str) -> None:
    """Central, 1e-5: errors of 1e-10 in a gradient of 1e-2. Two vectors of shares, each over its own three points."""
    found, _ = condition(name, 4, 3)
    points = rows(5, 6, 4, 3)
    shares = torch.tensor([[0.2, 0.5, 0.3], [0.0, 0.9, 0.1]], dtype=f64)
    values, slope = found.descent(points.x, points.y, shares)
    for k, pixel in itertools.product(range(6), range(4)):
        step = torch.zeros_like(points.x)
        step[k, 0, 0, pixel] = 1e-5
        up, down = (found.descent(points.x + sign * step, points.y, shares)[0].sum() for sign in (1, -1))
        assert float(up - down) / 2e-5 == pytest.approx(float(slope[k, 0, 0, pixel]), abs=1e-8)
    assert float(slope[3].abs().max()) == 0
    torch.testing.assert_close(values, found.part_left(points.x, points.y, shares) ** 2 / 2)


def test_alignments_are_products_with_each_gradient() -> None:
    found, train = condition("svm", 5, 3)
    scores = found.alignments(train)
    for label in range(3):
        atoms = found.atoms(train.x, torch.full_like(train.y, label))
        torch.testing.assert_close(scores[:, label], (atoms * found.gradient).sum((1, 2)))


@pytest.mark.parametrize("seed", range(4))
def test_the_shares_are_those_of_nnls(seed: int) -> None:
    """scipy's active sets, with the sum as a row of weight 1e4, which costs some 1e-8 of it."""
    generator = torch.Generator().manual_seed(seed)
    A, g = torch.randn((12, 20), generator=generator, dtype=f64), torch.randn(20, generator=generator, dtype=f64)
    exact, _ = nnls(np.vstack([A.T.numpy(), np.full((1, 12), 1e4)]), np.append(-g.numpy(), 1e4))
    found = best_shares(g, A)
    torch.testing.assert_close(found, torch.tensor(exact), rtol=0, atol=1e-5)
    assert float(found.sum()) == pytest.approx(1)


def test_projection_onto_the_simplex() -> None:
    assert project_simplex(torch.tensor([0.2, 0.3, 0.5])).tolist() == pytest.approx([0.2, 0.3, 0.5])
    assert project_simplex(torch.tensor([2.0, 0.0, 0.0])).tolist() == [1, 0, 0]
    assert project_simplex(torch.tensor([0.5, 0.5, -3.0])).tolist() == [0.5, 0.5, 0]
    assert project_simplex(torch.tensor([1.0, 0.8, 0.0])).tolist() == pytest.approx([0.6, 0.4, 0])


def test_whole_numbers_and_splits() -> None:
    assert whole(torch.tensor([0.5, 0.3, 0.2]), 7).tolist() == [4, 2, 1]  # 3.5, 2.1, 1.4
    assert whole(torch.tensor([1.0, 0.0]), 5).tolist() == [5, 0]
    assert splits(3, 31).tolist() == [[0, 3], [1, 2], [2, 1], [3, 0]]
    assert splits(90, 4).tolist() == [[0, 90], [30, 60], [60, 30], [90, 0]]


def reach(name: str, classes: int, seed: int, copies: int) -> tuple[Risk, Samples, Tensor, Budget]:
    """A game whose θ* is the minimiser with one point of each class, `copies` times, inside the box."""
    model: Model = load("model", name)((1, 1, 3), classes, (0.5,), (0.5,))
    train, points = rows(seed, 60, 3, classes), rows(90 + seed, classes, 3, classes)
    start = torch.zeros((classes, 4), dtype=f64)
    risk = Risk.of(model, layer(start), train, DECAY, None if name == "lr" else 0.3)
    x = (0.2 + 0.6 * points.x).repeat(copies, 1, 1, 1)
    target, _ = risk.minimum(start, x, torch.arange(classes).repeat(copies), 1e-10, 500)
    return risk, train, target, Budget(classes * copies / 60, 60, classes, KKT.threat)


def toward(attack: KKT, risk: Risk, train: Samples, target: Tensor, budget: Budget) -> PoisonSet:
    return attack.toward(layer(target), risk, train, budget, Stage(child_generator(0, "attack")), "t")


@pytest.mark.parametrize(("name", "classes", "seed"), [("lr", 2, 0), ("svm", 2, 1), ("lr", 3, 1)])
def test_a_target_that_points_reach_is_stationary_and_retraining_returns_it(name: str, classes: int, seed: int) -> None:
    """Adam stops well below 1e-3 of the gradient; λ makes of R at most (1 + ε)⁻¹ ‖R‖ / λ in the weights, beside 1e-6
    for the refit's own tolerance."""
    risk, train, target, budget = reach(name, classes, seed, 6)
    poison = toward(KKT(steps=250, decay=DECAY, rounds=2, grid=13), risk, train, target, budget)
    left = float(poison.stats["residual"])
    assert left < 1e-3
    gradient = risk.gradient(target, risk.clean)[1] + budget.epsilon * DECAY * target
    retrained, _ = risk.minimum(torch.zeros_like(target), poison.x, poison.y, 1e-8, 500)
    assert float((retrained - target).norm()) <= left * float(gradient.norm()) / DECAY + 1e-6
    clean, _ = risk.minimum(torch.zeros_like(target), poison.x[:0], poison.y[:0], 1e-8, 500)
    assert float((retrained - target).norm()) < 0.02 * float((clean - target).norm())


@pytest.mark.parametrize("name", ["lr", "svm"])
def test_the_grid_is_as_good_as_brute_force(name: str) -> None:
    """One pixel, two classes, four copies: every split, every pair of 201 pixel values. The search lies between cells,
    so that it may be better by what half a cell changes; it is not worse by more than 1e-4."""
    found, train = condition(name, 1, 2, 0.1)
    budget = Budget(0.1, 40, 2, KKT.threat)
    risk = Risk.of(found.model, layer(found.theta), train, DECAY, found.temperature)
    values = torch.linspace(0, 1, 201, dtype=f64)
    pairs = torch.cartesian_prod(values, values)
    best = 9.0
    for first in range(5):
        shares = torch.tensor([first, 4 - first], dtype=f64).expand(len(pairs), 2) / 4
        y = torch.arange(2).repeat(len(pairs))
        best = min(best, float(found.part_left(pairs.reshape(-1, 1, 1, 1), y, shares).min()))
    poison = toward(KKT(steps=300, decay=DECAY), risk, train, found.theta, budget)
    assert best - 0.01 <= float(poison.stats["residual"]) <= best + 1e-4
    assert len(poison) == 4
    assert 1 <= int(poison.stats["distinct"]) <= 2


def test_points_are_copies_of_a_few_and_the_stats_tell() -> None:
    small = Game(epsilon=0.5)
    attack = KKT(steps=20, rounds=2, quantiles=(0.5,), repetitions=(4,), decoy_epochs=3, trials=1)
    view, budget = small.attacker(attack.threat), small.budget(attack.threat)
    poison = attack.craft(view, budget, Stage(child_generator(0, "attack")))
    assert len(poison) == budget.n_poison == 30
    assert len(torch.cat([poison.x.flatten(1), poison.y[:, None]], 1).unique(dim=0)) == poison.stats["distinct"] <= 12
    counts = torch.bincount(poison.y, minlength=4).tolist()
    assert poison.stats["copies_by_label"] == " ".join(map(str, counts))


def test_the_attempt_that_does_most_harm_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three decoys the second leaves the lowest accuracy, or so it is said."""
    said = iter([90.0, 70.0, 80.0])
    monkeypatch.setattr(decoy_trials, "retrained_accuracy", lambda *_: next(said))
    monkeypatch.setattr(decoy_trials, "pareto_front", list)
    small = Game()
    attack = KKT(steps=2, rounds=1, quantiles=(0.5,), repetitions=(1, 3, 8), decoy_epochs=2, trials=3)
    view, budget = small.attacker(attack.threat), small.budget(attack.threat)
    assert attack.craft(view, budget, Stage(child_generator(0, "a"))).stats["decoy_repetitions"] == 3


def test_a_decoy_does_more_harm_than_the_clean_weights_as_target() -> None:
    """By 10 points of D_v's 40 rows at least, four of them, after retraining with the recipe."""
    small, stage = Game(classes=2, epsilon=0.5), Stage(child_generator(0, "attack"))
    attack = KKT(quantiles=(0.5,), repetitions=(8,), trials=1, grid=7, starts=1, steps=20)
    view, budget = small.attacker(attack.threat), small.budget(attack.threat)
    poison = attack.craft(view, budget, stage)
    decay = effective_decay(view.recipe, len(view.train), momentum=True)
    risk = Risk.of(view.model, view.weights, view.train, decay, None)
    idle = attack.toward(view.weights, risk, view.train, budget, stage, "clean")
    left = [retrained_accuracy(view, one, Stage(child_generator(0, "retrain")), "retrain") for one in (poison, idle)]
    assert left[0] < left[1] - 10


def test_networks_are_refused() -> None:
    small = Game(model="nn")
    with pytest.raises(ConfigError, match="one linear layer"):
        KKT().craft(small.attacker(KKT.threat), small.budget(KKT.threat), Stage(child_generator(0, "a")))


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"grid": 1}, r"attack\.grid: expected an integer ≥ 2, got 1"),
        ({"starts": 0}, r"attack\.starts"),
        ({"rounds": 0}, r"attack\.rounds"),
        ({"steps": 0}, r"attack\.steps"),
        ({"rate": 0.0}, r"attack\.rate"),
        ({"decay": -0.1}, r"attack\.decay"),
        ({"temperature": 0.0}, r"attack\.temperature"),
        ({"quantiles": (1.5,)}, r"attack\.quantiles"),
        ({"repetitions": ()}, r"attack\.repetitions"),
        ({"trials": 0}, r"attack\.trials"),
    ],
)
def test_fields_out_of_range_are_refused(fields: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        KKT(**fields)
