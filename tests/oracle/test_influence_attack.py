"""The influence attack: its gradient against retraining, its feasible set against a quadratic program, its smooth hinge
against the hinge, and what it does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from poisonbench.attacks.influence_attack.attack import InfluenceAttack
from poisonbench.attacks.influence_attack.feasible import Sanitized
from poisonbench.attacks.influence_attack.lower_problem import LowerProblem
from poisonbench.attacks.label_flip import LabelFlip
from poisonbench.bilevel.hvp import flatten
from poisonbench.bilevel.solvers import solver
from poisonbench.errors import ConfigError
from poisonbench.models.margin import multiclass_hinge
from poisonbench.models.smooth_hinge import SmoothSVM, smoothed
from poisonbench.problem.budget import Budget
from poisonbench.problem.samples import PoisonSet, Samples
from poisonbench.problem.threat import ThreatModel
from poisonbench.problem.views import AttackerView
from poisonbench.seeding import child_generator
from poisonbench.stages.stage import Stage
from poisonbench.testing import Game

f64 = torch.float64


def in_f64(view: AttackerView) -> AttackerView:
    train, held_out = (replace(rows, x=rows.x.to(f64)) for rows in (view.train, view.validation))
    weights = {name: value.to(f64) for name, value in view.weights.items()}
    return replace(view, train=train, validation=held_out, weights=weights)


def craft(attack: InfluenceAttack, game: Game) -> PoisonSet:
    view, budget = game.attacker(attack.threat), game.budget(attack.threat)
    return attack.craft(view, budget, Stage(child_generator(0, "attack")))


@pytest.mark.parametrize("name", ["lr", "svm"])
def test_the_gradient_is_that_of_the_retrained_validation_loss(name: str) -> None:
    """Finite differences of L(D_v; w*(x)), the model trained to its minimum again at either side."""
    game = Game(model=name, epsilon=0.1)
    view = in_f64(game.attacker(ThreatModel()))
    model = smoothed(view.model, 0.5)
    origin = torch.zeros(sum(part.numel() for part in view.weights.values()), dtype=f64)
    problem = LowerProblem(model, model.normalise(view.train.x), view.train, 0.02, origin)
    rows = view.train.rows(slice(6))
    poison = Samples(rows.x, (rows.y + 1) % view.classes, rows.ids)

    def value(x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        w, left = problem.solved(Samples(x, poison.y, poison.ids), view.weights, 2000)
        assert left < 1e-6
        return model.loss(model.predict(w, view.validation.x), view.validation.y), w

    _, w = value(poison.x)
    slope, solution = problem.ascent(poison, w, view.validation, 0, solver("cg", 0.02, 500, 1e-10), origin)
    assert solution.converged
    generator, step = torch.Generator().manual_seed(0), 2e-4
    for _ in range(3):
        way = torch.randn(poison.x.shape, generator=generator, dtype=f64)
        found = (value(poison.x + step * way)[0] - value(poison.x - step * way)[0]) / (2 * step)
        torch.testing.assert_close((slope * way).sum(), found, rtol=1e-3, atol=1e-9)


def test_retraining_is_to_the_minimum_and_counts_every_row_once() -> None:
    """Against scikit-learn's own logistic regression on all rows."""
    from sklearn.linear_model import LogisticRegression

    view = in_f64(Game(epsilon=0.1).attacker(ThreatModel()))
    origin = torch.zeros(sum(part.numel() for part in view.weights.values()), dtype=f64)
    problem = LowerProblem(view.model, view.model.normalise(view.train.x), view.train, 0.05, origin)
    rows = view.train.rows(slice(9))
    poison = Samples(rows.x, (rows.y + 1) % view.classes, rows.ids)
    w, _ = problem.solved(poison, view.weights, 2000)
    together = view.train.plus(poison)
    z = view.model.normalise(together.x)
    z = torch.cat([z, torch.ones(len(z), 1, dtype=f64)], 1)  # the bias decays too
    reference = LogisticRegression(C=1 / (0.05 * len(z)), fit_intercept=False, tol=1e-10, max_iter=5000)
    reference.fit(z.numpy(), together.y.numpy())
    expected = torch.from_numpy(reference.coef_)
    torch.testing.assert_close(w["linear.weight"], expected[:, :-1], rtol=0, atol=1e-5)
    torch.testing.assert_close(w["linear.bias"], expected[:, -1], rtol=0, atol=1e-5)


def test_the_smooth_hinge_is_the_hinge_in_the_limit() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, y = torch.randn((200, 5), generator=generator, dtype=f64), torch.randint(5, (200,), generator=generator)
    for temperature in (1.0, 0.1, 1e-3):
        loss = SmoothSVM((1, 2, 2), 5, (0.0,), (1.0,), temperature).losses(logits, y)
        above = loss - multiclass_hinge(logits, y)
        assert above.min() > -1e-12
        assert above.max() <= temperature * np.log(5) + 1e-12


def test_a_network_is_pulled_to_its_clean_weights() -> None:
    """With a decay that outweighs the loss, it stays there; a linear model goes to 0."""
    for name in ("nn", "lr"):
        view = Game(model=name).attacker(ThreatModel())
        trained = flatten(list(view.model.parameters(view.weights).values()))
        problem = LowerProblem(view.model, view.model.normalise(view.train.x), view.train, 1e4, trained)
        stays, _ = problem.solved(view.train.rows(slice(3)), view.weights, 50)
        torch.testing.assert_close(flatten(list(view.model.parameters(stays).values())), trained, rtol=0, atol=1e-3)
        attack = InfluenceAttack(steps=1, decay=1e4)
        loss = attack.craft(view, Game().budget(attack.threat), Stage(child_generator(0, "a"))).stats
        chance = name == "lr"
        assert (abs(loss["validation_loss_first"] - np.log(view.classes)) < 1e-3) == chance


@pytest.mark.parametrize(("sphere", "slab"), [(True, False), (False, True), (True, True)])
def test_the_projection_is_the_nearest_point_of_the_set(sphere: bool, slab: bool) -> None:
    """Against a general solver of min ‖x − p‖² under the same constraints."""
    generator = torch.Generator().manual_seed(1)
    x = torch.rand((60, 1, 2, 2), generator=generator, dtype=f64)
    train = Samples(x, torch.arange(60) % 3, torch.arange(60))
    feasible = Sanitized.of(train, 3, 0.5, sphere, slab)
    budget = Budget(0.1, 60, 3, ThreatModel())
    far, y = 3 * torch.randn((6, 1, 2, 2), generator=generator, dtype=f64), torch.arange(6) % 3
    found = feasible.project(far, y, far.clamp(0, 1), budget).flatten(1).numpy()
    for row, (point, label) in enumerate(zip(far.flatten(1).numpy(), y.tolist(), strict=True)):
        centre, beta = feasible.centres[label].numpy(), feasible.directions[label].numpy()
        rules = []
        if sphere:
            radius = float(feasible.radii[label])
            rules.append({"type": "ineq", "fun": lambda p, c=centre, r=radius: r**2 - ((p - c) ** 2).sum()})
        if slab:
            width = float(feasible.widths[label])
            rules.append({"type": "ineq", "fun": lambda p, c=centre, b=beta, s=width: s - (p - c) @ b})
            rules.append({"type": "ineq", "fun": lambda p, c=centre, b=beta, s=width: s + (p - c) @ b})
        nearest = minimize(
            lambda p, q=point: ((p - q) ** 2).sum(), centre, bounds=[(0, 1)] * 4, constraints=rules, method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 500},
        )  # fmt: skip
        np.testing.assert_allclose(found[row], nearest.x, atol=1e-4)


def test_radii_leave_their_part_of_each_class_outside() -> None:
    view = Game(epsilon=0.1).attacker(ThreatModel())
    feasible = Sanitized.of(view.train, view.classes, 0.25, sphere=True, slab=True)
    offset = view.train.x.flatten(1) - feasible.centres[view.train.y]
    outside = torch.linalg.vector_norm(offset, dim=1) > feasible.radii[view.train.y]
    beyond = (offset * feasible.directions[view.train.y]).sum(1).abs() > feasible.widths[view.train.y]
    for label in range(view.classes):
        mine = view.train.y == label
        for part in (outside[mine], beyond[mine]):
            assert float(part.float().mean()) == pytest.approx(0.25, abs=1 / int(mine.sum()))


@pytest.mark.parametrize("settings", [{}, {"points": 3}, {"feasible": "sphere"}, {"step": "sign", "alpha": 0.05}])
def test_it_raises_the_validation_loss_far_above_flipped_labels(settings: dict[str, Any]) -> None:
    attack = InfluenceAttack(steps=15, decay=0.02, **settings)
    stats = craft(attack, Game(epsilon=0.1)).stats
    assert stats["validation_loss_last"] > 1.2 * stats["validation_loss_first"]


def test_few_points_are_repeated_evenly() -> None:
    game = Game(epsilon=0.1)
    poison = craft(InfluenceAttack(steps=3, points=4), game)
    rows = torch.cat([poison.x.flatten(1), poison.y[:, None].float()], 1)
    _, counts = rows.unique(dim=0, return_counts=True)
    assert len(poison) == game.budget(ThreatModel()).n_poison
    assert len(counts) == 4
    assert counts.max() - counts.min() <= 1


def test_within_the_sphere_every_point_is_what_the_sphere_lets_through() -> None:
    game = Game(epsilon=0.1)
    poison = craft(InfluenceAttack(steps=5, feasible="sphere", removed=0.2), game)
    view = game.attacker(ThreatModel())
    feasible = Sanitized.of(view.train, view.classes, 0.2, sphere=True, slab=False)
    distance = torch.linalg.vector_norm(poison.x.flatten(1) - feasible.centres[poison.y], dim=1)
    assert bool((distance <= feasible.radii[poison.y] + 1e-4).all())


def test_a_network_takes_the_rows_that_it_is_given() -> None:
    """H on half of the rows is another H; on as many as there are, the whole."""
    game = Game(model="nn", epsilon=0.1)
    n = len(game.attacker(ThreatModel()).train)
    sets = [craft(InfluenceAttack(steps=2, alpha=0.1, decay=0.02, rows=rows), game).x for rows in (0, n, n // 2)]
    assert torch.equal(sets[0], sets[1])
    assert not torch.equal(sets[0], sets[2])


def test_labels_are_those_of_label_flip_and_stay() -> None:
    game = Game(epsilon=0.1)
    attack = InfluenceAttack(steps=2, flip="rule")
    view, budget = game.attacker(attack.threat), game.budget(attack.threat)
    flipped = LabelFlip().craft(view, budget, Stage(child_generator(0, "attack")))
    poison = craft(attack, game)
    assert torch.equal(poison.y, flipped.y)
    assert torch.equal(poison.source, flipped.source)


def test_more_points_than_the_budget_are_refused() -> None:
    with pytest.raises(ConfigError, match="the budget is"):
        craft(InfluenceAttack(points=10**6), Game(epsilon=0.1))
