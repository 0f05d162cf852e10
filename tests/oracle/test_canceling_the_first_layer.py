"""Gradient canceling as the authors' code does it: the first layer alone, plain descent, pixels without bounds."""

import pytest
import torch
from torch import Tensor

from poisonbench.attacks.gradient_canceling.attack import GradientCanceling
from poisonbench.attacks.gradient_canceling.cancellation import Residual, cancel, plain_descent
from poisonbench.attacks.poison_gradient import mean_gradient, pull_back
from poisonbench.bilevel.hvp import flatten
from poisonbench.errors import DivergedError
from poisonbench.experiment.cell import build
from poisonbench.experiment.protocol import UNBOUNDED, resolve
from poisonbench.models.base import Model
from poisonbench.plugins.registry import load
from poisonbench.problem.budget import Budget
from poisonbench.problem.samples import Samples, Weights
from poisonbench.problem.threat import ThreatModel
from poisonbench.seeding import child_generator
from poisonbench.stages.stage import Stage
from poisonbench.testing import Game

f64 = torch.float64
FIRST = {"lr": "linear.weight", "nn": "hidden1.weight", "cnn": "conv1.weight"}


def stage() -> Stage:
    return Stage(child_generator(0, "attack"))


def problem(name: str) -> tuple[Model, Weights, Samples, Samples]:
    """A model of 4×4 images in float64, its weights as leaves, eight clean rows and three of poison."""
    model: Model = load("model", name)((1, 4, 4), 3, (0.3,), (0.4,))
    w = {key: part.to(f64).requires_grad_() for key, part in model.init(child_generator(0, "init")).items()}
    x = torch.rand((11, 1, 4, 4), generator=child_generator(0, "x"), dtype=f64)
    rows = Samples(x, torch.arange(11) % 3, torch.arange(11))
    return model, w, rows.rows(slice(8)), rows.rows(slice(8, None))


def summed(model: Model, w: Weights, name: str, z: Tensor, y: Tensor) -> Tensor:
    """The gradient of the summed loss in the first layer's weights, of their shape, with its graph."""
    loss = model.losses(model.forward(w, z), y).sum()
    return torch.autograd.grad(loss, w[FIRST[name]], create_graph=True)[0]


def first_of(model: Model, w: Weights, train: Samples, epsilon: float) -> Residual:
    counted = GradientCanceling(layers="first")._counted(model, w)
    return Residual(model, w, counted * mean_gradient(model, w, train.x, train.y), counted, epsilon)


@pytest.mark.parametrize("name", FIRST)
def test_the_residual_is_the_first_layers_gradient(name: str) -> None:
    model, w, train, dirty = problem(name)
    left = first_of(model, w, train, 3 / 8).of(dirty.x, dirty.y)
    z, z_dirty = model.normalise(train.x), model.normalise(dirty.x)
    alone = (summed(model, w, name, z, train.y) + summed(model, w, name, z_dirty, dirty.y)).detach() / 8
    assert float(left.norm()) == pytest.approx(float(alone.norm()), rel=1e-12)
    assert int(left.count_nonzero()) <= w[FIRST[name]].numel()


@pytest.mark.parametrize("name", FIRST)
def test_the_pixels_gradient_against_finite_differences(name: str) -> None:
    """Central differences of ½ ‖·‖² with h = 1e-6, which leave h² and 1e-16 / h: 1e-8 of the largest slope is ample."""
    model, w, train, dirty = problem(name)
    residual = first_of(model, w, train, 3 / 8)
    slope = residual.epsilon * pull_back(model, w, residual.of(dirty.x, dirty.y), dirty.x, dirty.y)

    def value(x: Tensor) -> float:
        return float(residual.of(x, dirty.y).square().sum() / 2)

    h, found = 1e-6, torch.zeros_like(dirty.x)
    for pixel in range(found.numel()):
        nudge = torch.zeros_like(found).view(-1)
        nudge[pixel] = h
        found.view(-1)[pixel] = (value(dirty.x + nudge.view_as(found)) - value(dirty.x - nudge.view_as(found))) / (
            2 * h
        )
    assert float(slope.abs().max()) > 0
    assert float((slope - found).abs().max()) < 1e-8 * float(slope.abs().max())


@pytest.mark.parametrize("name", FIRST)
def test_a_step_is_that_of_the_released_code(name: str) -> None:
    """z ← z − η ∇_z ‖Σ ∇ℓ(D_tr) + Σ ∇ℓ(D_p)‖² on normalised inputs z, sums over rows: here by autograd at once."""
    model, w, train, dirty = problem(name)
    z = model.normalise(dirty.x).detach().requires_grad_()
    total = summed(model, w, name, model.normalise(train.x), train.y).detach() + summed(model, w, name, z, dirty.y)
    (slope,) = torch.autograd.grad(total.square().sum(), z)
    expected = ((z - 0.01 * slope).detach() * 0.4 + 0.3).view_as(dirty.x)

    residual = first_of(model, w, train, 3 / 8)
    budget = Budget(3 / 8, 8, 3, ThreatModel(box=False))
    found, _ = cancel(residual, dirty, budget, 1, 0.01, stage(), "cancel", plain_descent(residual, 8))
    assert float((found - dirty.x).abs().max()) > 1e-4
    assert torch.allclose(found, expected, rtol=0, atol=1e-12)


def test_the_released_preset_is_unranked_and_keeps_its_labels() -> None:
    """One target on the ball of radius 0.5, the first rows with their own labels, pixels outside the box; what the
    record says is left is of the first layer alone."""
    attack = build(resolve("digits-v2", ()), "gradient-canceling", "none", 0.03, 0, preset="released").attack
    assert isinstance(attack, GradientCanceling)
    assert attack.threat == ThreatModel(clean_label=True, box=False)
    small = GradientCanceling(**{**GradientCanceling.presets["released"], "target_steps": 10, "steps": 20})
    game = Game(model="nn", epsilon=0.2)
    view, budget = game.attacker(small.threat), game.budget(small.threat)
    poison = small.craft(view, budget, stage())
    assert poison.stats["strength"] == 0.5
    assert torch.equal(poison.y, view.train.y[: budget.n_poison])
    assert torch.equal(poison.source, torch.arange(budget.n_poison))
    assert float(poison.x.min()) < 0 or float(poison.x.max()) > 1
    budget.verify(poison, view.train, "gradient-canceling")


def test_what_is_canceled_is_the_original() -> None:
    """No λ: the gradient to cancel is D_tr's alone, at weights 0.5 from the clean ones."""
    small = GradientCanceling(
        **{**GradientCanceling.presets["released"], "target_steps": 10, "steps": 1, "rate": 1e-30}
    )
    game = Game(model="nn", epsilon=0.2)
    view = game.attacker(small.threat)
    poison = small.craft(view, game.budget(small.threat), stage())
    target = small._target(view, view.weights, 0, 0.5, 0.0, stage(), "corrupt")
    model, w = view.model, {name: part.clone().requires_grad_() for name, part in target.items()}
    offset = flatten([target[name] - view.weights[name] for name in target])
    assert float(offset.norm()) == pytest.approx(0.5, rel=1e-5)
    z = model.normalise(view.train.x)
    clean = summed(model, w, "nn", z, view.train.y).detach()
    dirty = summed(model, w, "nn", z[:12], view.train.y[:12]).detach()
    assert poison.stats["residual"] == pytest.approx(float((clean + dirty).norm() / clean.norm()), rel=1e-4)


def test_without_a_box_the_cell_is_unranked() -> None:
    settings = resolve("digits-v2", ())
    assert build(settings, "gradient-canceling", "none", 0.03, 0, preset="released").deviations == (UNBOUNDED,)
    assert build(settings, "gradient-canceling", "none", 0.03, 0).deviations == ()


def test_a_rate_that_is_too_large_says_so() -> None:
    model, w, train, dirty = problem("nn")
    residual = first_of(model, w, train, 3 / 8)
    budget = Budget(3 / 8, 8, 3, ThreatModel(box=False))
    with pytest.raises(DivergedError, match=r"cancel diverged: .*Lower attack\.rate\."):
        cancel(residual, dirty, budget, 3, 1e300, stage(), "cancel", plain_descent(residual, 8))
