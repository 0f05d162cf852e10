"""Gradient canceling against its closed forms: the threshold, and the one point that cancels a binary model."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from poisonbench.attacks.evaluation import accuracy
from poisonbench.attacks.gradient_canceling.attack import GradientCanceling
from poisonbench.attacks.gradient_canceling.cancellation import Residual, alignments, cancel, matching_rows
from poisonbench.attacks.gradient_canceling.corruption import (
    corrupted_in_l2_ball,
    corrupted_within_reach,
    in_turn,
)
from poisonbench.attacks.gradient_canceling.reachability import threshold
from poisonbench.attacks.poison_gradient import mean_gradient
from poisonbench.bilevel.hvp import flatten, unflatten
from poisonbench.errors import ConfigError
from poisonbench.models.base import Model
from poisonbench.plugins.registry import load
from poisonbench.problem.budget import Budget
from poisonbench.problem.effective_decay import effective_decay
from poisonbench.problem.recipe import Recipe
from poisonbench.problem.samples import Samples, Weights
from poisonbench.problem.threat import ThreatModel
from poisonbench.seeding import child_generator
from poisonbench.stages.stage import Stage
from poisonbench.testing import Game

f64 = torch.float64


def stage() -> Stage:
    return Stage(child_generator(0, "attack"))


def leaves(weights: Weights) -> Weights:
    return {name: value.to(f64).clone().requires_grad_() for name, value in weights.items()}


@pytest.mark.parametrize(("classes", "value"), [(2, 0.2785), (10, 1.1010)])
def test_the_threshold_is_the_least_that_one_point_can_give(classes: int, value: float) -> None:
    """With its own score t below the C − 1 others', all equal, a point gives ⟨w, ∇ℓ⟩ = −t (C − 1) / (C − 1 + e^t) at
    t > 0 … here searched for by scalar minimisation; the figures are those of the paper, to its four digits."""
    found = minimize_scalar(
        lambda t: -t * (classes - 1) / (classes - 1 + math.exp(t)), bounds=(0, 20), method="bounded"
    )
    assert 1 / threshold(1.0, classes) == pytest.approx(-found.fun, abs=1e-9)
    assert 1 / threshold(1.0, classes) == pytest.approx(value, abs=5e-5)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_no_point_beats_the_threshold(classes: int) -> None:
    """⟨w, ∇_w ℓ(x, y; w)⟩ ≥ −W((C − 1) / e) whatever the scores."""
    scores = 10 * torch.randn((20000, classes), generator=child_generator(0, "scores"), dtype=f64)
    p = torch.softmax(scores, 1)
    products = (p * scores).sum(1) - scores[:, 0]
    assert float(products.min()) >= -1 / threshold(1.0, classes)


def test_a_hinge_s_threshold_is_the_least_that_one_point_can_give() -> None:
    """A point whose loss is above 0 gives s_j − s_y > −1, and as near to it as one likes."""
    game = Game(model="svm", classes=2)
    model = game.target()
    w = leaves(game.fit(game.samples("train", 20)))
    x = torch.rand(2000, *game.shape, generator=child_generator(0, "points"), dtype=f64) * 8 - 4
    y = torch.arange(2000) % 2
    logits = model.predict(w, x)
    own, other = logits.gather(1, y[:, None]), logits.gather(1, 1 - y[:, None])
    inside = (1 + other - own > 0).squeeze(1)
    least = min(
        sum(float((part * w[name].detach()).sum()) for name, part in zip(w, slopes, strict=True))
        for slopes in (
            torch.autograd.grad(
                model.losses(model.forward(w, model.normalise(x[i : i + 1])), y[i : i + 1]).sum(), list(w.values())
            )
            for i in torch.nonzero(inside).flatten().tolist()[:300]
        )
    )
    assert -1 <= least < -0.9
    assert threshold(0.3, 2, hinge=True) == 0.3


def all_of(model: Model, w: Weights, gradient: Tensor, epsilon: float) -> Residual:
    """What is left of a gradient of which every entry counts."""
    return Residual(model, w, gradient, torch.ones_like(gradient), epsilon)


def binary_problem() -> tuple[Model, Weights, Tensor, Tensor, float]:
    """A binary model, its target w, the clean gradient ḡ, the point z and the ε that cancel it.

    With u = w₁ − w₀ and scores m = u·z + b, the gradient of the point (z, 1) in class 1's row is −σ(−m) (z, 1), so it
    cancels ε-weighted iff ε σ(−m) = ḡ_b and z = ḡ_w / ḡ_b: one equation for ε, once ⟨(u, b), ḡ⟩ = ε m σ(−m) gives m."""
    model: Model = load("model", "lr")((1, 2, 2), 2, (0.5,), (0.5,))
    w = {
        "linear.weight": torch.tensor([[-0.3, 0.2, 0.1, -0.1], [0.3, -0.2, -0.1, 0.1]], dtype=f64),
        "linear.bias": torch.tensor([-0.1, 0.1], dtype=f64),
    }
    gradient_z = torch.tensor([0.02, -0.01, 0.005, 0.012], dtype=f64)
    gradient_b = 0.03
    z = gradient_z / gradient_b
    u, b = w["linear.weight"][1] - w["linear.weight"][0], w["linear.bias"][1] - w["linear.bias"][0]
    m = float(u @ z + b)
    epsilon = gradient_b * (1 + math.exp(m))
    row = torch.cat([gradient_z, torch.tensor([gradient_b], dtype=f64)])
    gradient = torch.cat([torch.stack([-row[4], row[4]]), -row[:4], row[:4]])  # bias, weight: alphabetical
    return model, leaves(w), gradient, z, epsilon


def test_a_repeated_point_cancels_a_binary_gradient() -> None:
    """The closed form leaves nothing; and the optimiser, started elsewhere, finds points that leave 1e-3 of the
    gradient (Adam's last steps are rate · 1e-5 pixels; a thousand steps and one point, so the solution is unique)."""
    model, w, gradient, z, epsilon = binary_problem()
    x = ((z + 1) / 2).view(1, 1, 2, 2)
    y = torch.tensor([1])
    assert float((gradient + epsilon * mean_gradient(model, w, x, y)).norm()) < 1e-15
    product = float(torch.dot(flatten(list(model.parameters(w).values())).detach(), gradient))
    assert threshold(product, 2) <= epsilon

    start = Samples(torch.full((1, 1, 2, 2), 0.9, dtype=f64), y, torch.tensor([0]))
    budget = Budget(epsilon, 1000, 2, ThreatModel())
    found, left = cancel(all_of(model, w, gradient, epsilon), start, budget, 1000, 0.05, stage(), "cancel")
    assert left < 1e-3
    assert float((found - x).abs().max()) < 1e-3


def test_retraining_lands_on_a_canceled_target() -> None:
    """Softmax regression with a decay of λ about the clean weights has one minimiser, which Newton's method finds. The
    target is the one that some poison set in the box trains; the points are then made from others, and must train it
    again: to 1e-3 of its distance, since they leave less than 1e-4 of the gradient and the curvature is at least λ."""
    game, decay, epsilon = Game(n_train=60, epsilon=0.5), 0.1, 0.5
    view = game.attacker(ThreatModel())
    model = view.model
    clean = {name: value.to(f64) for name, value in view.weights.items()}
    x, y = view.train.x.to(f64), view.train.y
    w0 = flatten(list(model.parameters(clean).values()))
    wrong = (y[:30] + 1) % game.classes

    def retrain(poison: Tensor) -> Tensor:
        def objective(w: Tensor) -> Tensor:
            weights = unflat(model, clean, w)
            dirty = model.losses(model.forward(weights, model.normalise(poison)), wrong).mean()
            loss = model.losses(model.forward(weights, model.normalise(x)), y).mean()
            return loss + epsilon * dirty + decay / 2 * (w - w0).square().sum()

        w = w0.clone()
        for _ in range(12):
            slope = torch.autograd.functional.jacobian(objective, w)
            w = w - torch.linalg.solve(torch.autograd.functional.hessian(objective, w), slope)
        assert float(slope.norm()) < 1e-12
        return w

    target = retrain(0.25 + x[:30] / 2)
    w = leaves(unflat(model, clean, target))
    gradient = mean_gradient(model, w, x, y) + decay * (target - w0)
    start = Samples(torch.full_like(x[:30], 0.5) + x[30:] / 10, wrong, torch.arange(30))
    budget = Budget(epsilon, 60, game.classes, ThreatModel())
    found, left = cancel(all_of(model, w, gradient, epsilon), start, budget, 1000, 0.02, stage(), "cancel")
    assert left < 1e-4
    assert float((retrain(found) - target).norm()) < 1e-3 * float((target - w0).norm())


def test_as_many_points_are_canceled_with_as_are_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """5 of 60 rows are less than ε = 0.098 of them."""
    weights: list[float] = []

    def seen(model: Model, w: Weights, gradient: Tensor, counted: Tensor, epsilon: float) -> Residual:
        weights.append(epsilon)
        return Residual(model, w, gradient, counted, epsilon)

    monkeypatch.setattr("poisonbench.attacks.gradient_canceling.attack.Residual", seen)
    game, attack = Game(epsilon=0.098), GradientCanceling(strengths=(0.1,), target_steps=2, steps=2)
    poison = attack.craft(game.attacker(attack.threat), game.budget(attack.threat), stage())
    assert len(poison) == 5
    assert weights == [5 / 60]


def unflat(model: Model, weights: Weights, flat: Tensor) -> Weights:
    parameters = model.parameters(weights)
    return dict(zip(parameters, unflatten(flat, list(parameters.values())), strict=True))


@pytest.mark.parametrize("name", ["lr", "svm", "nn", "cnn"])
def test_alignments_are_inner_products_with_per_sample_gradients(name: str) -> None:
    """One forward-mode pass against one backward pass for every sample and label; 1e-10 is rounding, with a margin."""
    model: Model = load("model", name)((1, 4, 4), 3, (0.5,), (0.5,))
    w = leaves(model.init(child_generator(0, "init")))
    x = torch.rand((5, 1, 4, 4), generator=child_generator(0, "x"), dtype=f64)
    size = sum(part.numel() for part in model.parameters(w).values())
    u = torch.randn(size, generator=child_generator(0, "u"), dtype=f64)
    expected = torch.tensor(
        [[float(mean_gradient(model, w, x[i : i + 1], torch.tensor([c])) @ u) for c in range(3)] for i in range(5)],
        dtype=f64,
    )
    assert torch.allclose(alignments(model, w, u, x), expected, rtol=0, atol=1e-10)


def test_matching_takes_the_row_and_label_that_cancel() -> None:
    """The gradient to cancel is made of one row with a wrong label, so that pair must be the first that is taken."""
    game = Game()
    view = game.attacker(ThreatModel())
    w = {name: value.clone().requires_grad_() for name, value in view.weights.items()}
    wanted, label = 17, torch.tensor([(int(view.train.y[17]) + 2) % game.classes])
    gradient = -0.1 * mean_gradient(view.model, w, view.train.x[wanted : wanted + 1], label)
    rows, labels = matching_rows(all_of(view.model, w, gradient, 0.1), view.train, 1)
    scores = alignments(view.model, w, gradient, view.train.x)
    assert (int(rows), int(labels)) == divmod(int(scores.argmin()), game.classes)
    assert float(scores[wanted, label]) < 0


def test_matching_spreads_over_what_is_left() -> None:
    """The gradient to cancel is that of 20 different pairs. Taking the best-aligned pairs at once piles up on a few;
    each round must look at what the earlier ones have left."""
    game = Game(n_train=200)
    view = game.attacker(ThreatModel())
    w = {name: value.clone().requires_grad_() for name, value in view.weights.items()}
    x, wrong = view.train.x[:20], (view.train.y[:20] + 1 + torch.arange(20) % 3) % game.classes
    gradient = -0.1 * mean_gradient(view.model, w, x, wrong)

    def left(rows: Tensor, labels: Tensor) -> float:
        made = 0.1 * mean_gradient(view.model, w, view.train.x[rows], labels)
        return float((gradient + made).norm() / gradient.norm())

    at_once = alignments(view.model, w, gradient, view.train.x).flatten().topk(20, largest=False).indices
    pursued = left(*matching_rows(all_of(view.model, w, gradient, 0.1), view.train, 20))
    assert pursued < 0.4
    assert pursued < left(at_once // game.classes, at_once % game.classes) / 2


def test_the_bound_that_harms_most_is_kept() -> None:
    """A negligible bound changes nothing; the record says which was kept and what it left of D_v."""
    game = Game(n_train=200, n_validation=200, epsilon=0.3)
    attack = GradientCanceling(strengths=(1e-9, 1.0), target_steps=50, steps=100)
    view = game.attacker(attack.threat)
    poison = attack.craft(view, game.budget(attack.threat), stage())
    assert poison.stats["strength"] == 1.0
    assert poison.stats["validation_accuracy"] < accuracy(view.model, view.weights, view.validation) - 5


def test_the_end_of_training_is_canceled_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left is that of ∇L(D_tr; w) + λ(w − w_clean), here with a target handed in."""
    game, decay = Game(n_train=60), 0.5
    attack = GradientCanceling(strengths=(1.0,), target_steps=1, steps=2, decay=decay)
    view = game.attacker(attack.threat)
    target = {name: value + 0.1 for name, value in view.weights.items()}
    monkeypatch.setattr("poisonbench.attacks.gradient_canceling.attack.corrupted_within_reach", lambda *_: target)
    poison = attack.craft(view, game.budget(attack.threat), stage())
    w = {name: value.clone().requires_grad_() for name, value in target.items()}
    wanted = mean_gradient(view.model, w, view.train.x, view.train.y) + decay * 0.1
    made = game.epsilon * mean_gradient(view.model, w, poison.x, poison.y)
    assert poison.stats["residual"] == pytest.approx(float((wanted + made).norm() / wanted.norm()), rel=1e-4)


def test_the_l2_target_is_on_the_ball_and_harmful() -> None:
    view = Game().attacker(ThreatModel())
    target = corrupted_in_l2_ball(view, [view.validation], 0.5, 20, 0, stage(), "corrupt")
    offset = flatten([target[name] - view.weights[name] for name in view.weights])
    assert float(offset.norm()) == pytest.approx(0.5, rel=1e-5)
    assert loss_on_validation(target) > loss_on_validation(view.weights) + 0.1


def loss_on_validation(weights: Weights) -> float:
    view = Game().attacker(ThreatModel())
    logits = view.model.forward(weights, view.model.normalise(view.validation.x))
    return float(view.model.loss(logits, view.validation.y))


def test_a_target_within_reach_costs_less_gradient_for_the_same_error() -> None:
    """What the norm is for: at equal error on D_v the gradient to cancel is smaller than on GradPC's ball."""
    view = Game(n_train=200, n_validation=200).attacker(ThreatModel())
    model, decay = view.model, 0.05

    def cost_and_error(weights: Weights) -> tuple[float, float]:
        w = {name: value.clone().requires_grad_() for name, value in weights.items()}
        offset = flatten([weights[name] - view.weights[name] for name in model.parameters(weights)])
        gradient = mean_gradient(model, w, view.train.x, view.train.y) + decay * offset
        wrong = model.predict(weights, view.validation.x).argmax(1) != view.validation.y
        return float(gradient.norm()), float(wrong.float().mean())

    seen = [view.train, view.validation]
    reached = corrupted_within_reach(view, view.train, seen, view.weights, 3.0, decay, 100, 0, stage(), "corrupt")
    cost, error = cost_and_error(reached)
    assert error > cost_and_error(view.weights)[1] + 0.05
    ball = [
        cost_and_error(corrupted_in_l2_ball(view, seen[1:], radius, 20, 0, stage(), "corrupt"))
        for radius in (0.2, 0.4, 0.8, 1.6)
    ]
    assert min(other for other, wrong in ball if wrong >= error) > cost


def test_the_decay_of_a_recipe() -> None:
    """250 steps at 0.2 last for a time of 50; the cosine's mean rate is half of it, and (1 + 1/E) / 2 in E epochs."""
    assert effective_decay(Recipe(lr=0.2, batch_size=40, epochs=50), 200) == pytest.approx(1 / 50)
    heavy = Recipe(lr=0.2, batch_size=40, epochs=50, momentum=0.9)
    assert [effective_decay(heavy, 200, counted) for counted in (False, True)] == pytest.approx([1 / 50, 1 / 500])
    assert effective_decay(Recipe(lr=0.2, batch_size=40, epochs=50, weight_decay=0.1), 199) == pytest.approx(0.12)
    assert effective_decay(Recipe(lr=0.2, batch_size=40, epochs=50, schedule="cosine"), 200) == pytest.approx(1 / 25.5)


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"strengths": (1.0, 0.1)}, "ascending"),
        ({"strengths": (0.0,)}, "numbers > 0"),
        ({"decay": -1.0}, r"attack\.decay: expected a number ≥ 0 or null"),
        ({"steps": 0}, r"attack\.steps"),
        ({"target_batch": -1}, r"attack\.target_batch: expected an integer ≥ 0 or null, got -1"),
        ({"candidates": -1}, r"attack\.candidates: expected an integer ≥ 0 or null, got -1"),
        ({"rate": math.nan}, r"attack\.rate"),
    ],
)
def test_fields_out_of_range_are_refused(fields: dict[str, object], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        GradientCanceling(**fields)


def test_batches_take_every_row_in_turn() -> None:
    rows = Game(n_train=10).samples("train", 10)
    turns = [in_turn(rows, 4, k).ids.tolist() for k in range(5)]
    assert turns == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 1], [2, 3, 4, 5], [6, 7, 8, 9]]
    assert all(in_turn(rows, batch, 3) is rows for batch in (0, 10, 11))


def test_batches_lead_to_the_same_choice() -> None:
    """The dear search looks at all 400 rows of D_tr and 200 of D_v in every step, the cheap one at 200 of each, in two
    batches, and matching at half of D_tr: of three bounds, too weak, right and too strong, both keep the second, and
    what it leaves of D_v differs by less than two points (four rows)."""
    game = Game(n_train=400, n_validation=200, epsilon=0.2)
    dear = GradientCanceling(strengths=(0.3, 3.0, 30.0), target_steps=50, steps=40)
    cheap = replace(dear, target_batch=100, target_rows=200, candidates=200)
    view, budget = game.attacker(dear.threat), game.budget(dear.threat)
    one, other = (attack.craft(view, budget, stage()).stats for attack in (dear, cheap))
    assert one["strength"] == other["strength"] == 3.0
    assert abs(float(one["validation_accuracy"]) - float(other["validation_accuracy"])) < 2
    assert float(one["validation_accuracy"]) < accuracy(view.model, view.weights, view.validation) - 5


def test_a_network_looks_at_batches_where_there_are_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every bound has rows of its own, and no row is looked at in two of its rounds; a linear model looks at all."""
    monkeypatch.setattr("poisonbench.attacks.gradient_canceling.attack.TARGET_BATCH", 20)
    seen: list[list[int]] = []
    gradient = {name: load("model", name).gradient for name in ("lr", "nn")}
    for name, rounds in (("nn", [[*range(20)], [*range(20, 40)], [*range(40, 60)], [*range(60, 80)]]), ("lr", [])):
        game = Game(model=name, n_train=80)
        attack = GradientCanceling(strengths=(0.1, 0.2), target_steps=100, target_rows=40, steps=1)
        view = game.attacker(attack.threat)
        row_of = {tuple(row): i for i, row in enumerate(view.model.normalise(view.train.x).flatten(1).tolist())}

        def watched(self: Model, w: Weights, z: Tensor, y: Tensor, name: str = name, row_of: Any = row_of) -> Any:
            seen.append([row_of[tuple(row)] for row in z.flatten(1).tolist()])
            return gradient[name](self, w, z, y)

        monkeypatch.setattr("poisonbench.attacks.gradient_canceling.attack.retrained_accuracy", lambda *_: 0.0)
        monkeypatch.setattr(type(view.model), "gradient", watched)
        attack.craft(view, game.budget(attack.threat), stage())
        found = [rows for i, rows in enumerate(seen) if i == 0 or rows != seen[i - 1]]
        assert found == (rounds or [[*range(40)]])
        seen.clear()
