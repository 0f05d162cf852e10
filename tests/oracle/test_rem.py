"""Robust error-minimising noise: the inner problems in closed form on a linear model, the whole attack as plain nested
loops, error-minimising noise as its special case, and what it is for."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from poisonbench.attacks.pixel_sign import descend_rows, input_gradient
from poisonbench.attacks.rem import REM, Inner
from poisonbench.augmentation import flipped_and_cropped
from poisonbench.data.base import DataOptions, prepare
from poisonbench.data.split import split
from poisonbench.errors import ConfigError, DivergedError
from poisonbench.models.base import build
from poisonbench.models.nn import NeuralNetwork
from poisonbench.plugins.registry import load
from poisonbench.problem.budget import Budget
from poisonbench.problem.recipe import Recipe
from poisonbench.problem.samples import PoisonSet, Samples, Weights
from poisonbench.problem.threat import Knowledge, Mode
from poisonbench.problem.views import AttackerView
from poisonbench.seeding import child_generator
from poisonbench.stages.stage import Stage
from poisonbench.testing import Game
from poisonbench.training import train

f64 = torch.float64


class Network(NeuralNetwork):
    """The fully connected network with float64 weights."""

    def init(self, generator: torch.Generator) -> Weights:
        """See Model."""
        return {name: value.to(f64) for name, value in super().init(generator).items()}


def view_of(game: Game, attack: REM, augmentation: Any = "none") -> AttackerView:
    """The game's, in float64."""
    view = game.attacker(attack.threat)
    weights = {name: value.to(f64) for name, value in view.weights.items()}
    rows, recipe = replace(view.train, x=view.train.x.to(f64)), replace(view.recipe, augmentation=augmentation)
    return replace(view, train=rows, weights=weights, recipe=recipe)


def inner_of(attack: REM, game: Game) -> tuple[Inner, Samples]:
    """The inner problems at the clean weights, and D_tr."""
    view, stage = view_of(game, attack), Stage(child_generator(0, "attack"))
    return attack._inner(view, view.weights, game.budget(attack.threat), stage), view.train


def test_on_a_linear_model_of_two_classes_both_are_the_closed_form() -> None:
    """δᵃ = ρᵃ sign(w_other − w_y) and δᵘ = −ρᵘ sign(w_other − w_y) wherever the box leaves room: the loss falls and
    rises with the margin alone, so δᵃ does not turn δᵘ. Ten steps of 0.2 ρ cross the ball from any start."""
    attack = REM(radius=0.05, adversary_radius=0.03)
    inner, rows = inner_of(attack, Game(classes=2))
    w = inner.w["linear.weight"]
    up = (w[1 - rows.y] - w[rows.y]).sign().view_as(rows.x)
    torch.testing.assert_close(inner.adversarial(rows.x, rows.y), (rows.x + 0.03 * up).clamp(0, 1), rtol=0, atol=1e-15)
    torch.testing.assert_close(inner.noisy(rows), (rows.x - 0.05 * up).clamp(0, 1), rtol=0, atol=1e-15)


@pytest.mark.parametrize("model", ["lr", "nn", "cnn"])
def test_without_an_adversary_it_is_the_inner_step_of_error_minimising_noise(model: str) -> None:
    """To the bit, from the same start; with an adversary it is another, but for a linear model."""
    shape = (1, 8, 8) if model == "cnn" else (1, 4, 4)
    attack = REM(radius=0.1, adversary_radius=0.0, steps=4)
    inner, rows = inner_of(attack, Game(model=model, shape=shape))
    noise = 0.1 * (2 * torch.rand(rows.x.shape, generator=child_generator(0, "attack")) - 1).to(f64)
    start = inner.budget.project(rows.x + noise, rows.x)
    slope = partial(input_gradient, inner.model, inner.w, y=rows.y)
    made = inner.noisy(rows)
    assert torch.equal(made, descend_rows(slope, start, rows.x, 0.2 * 0.1, 4, inner.budget))
    other, _ = inner_of(replace(attack, adversary_radius=0.3), Game(model=model, shape=shape))
    assert not torch.equal(other.noisy(rows), made)


def uniform(shape: torch.Size, radius: float, generator: torch.Generator) -> Tensor:
    return radius * (2 * torch.rand(shape, generator=generator).to(f64) - 1)


def near(x: Tensor, source: Tensor, radius: float) -> Tensor:
    return torch.minimum(torch.maximum(x, source - radius), source + radius).clamp(0, 1)


def slope_of(model: NeuralNetwork, w: Weights, image: Tensor, y: Tensor) -> Tensor:
    leaf = image.detach()[None].requires_grad_()
    return torch.autograd.grad(F.cross_entropy(model.forward(w, model.normalise(leaf)), y[None]), leaf)[0][0]


def worst(attack: REM, model: NeuralNetwork, w: Weights, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
    """The inner maximum, row by row."""
    found = near(x + uniform(x.shape, attack.adversary_radius, generator), x, attack.adversary_radius)
    for row in range(len(x)):
        for _ in range(attack.adversary_steps):
            up = attack.rate * attack.adversary_radius * slope_of(model, w, found[row], y[row]).sign()
            found[row] = near(found[row] + up, x[row], attack.adversary_radius)
    return found


def least(
    attack: REM, model: NeuralNetwork, w: Weights, rows: Samples, augmented: bool, generator: torch.Generator
) -> Tensor:
    """The inner minimum: draws and rows one after the other."""
    J, n = attack.J if augmented else 1, len(rows)
    made = near(rows.x + uniform(rows.x.shape, attack.radius, generator), rows.x, attack.radius)
    for _ in range(attack.steps):
        leaf = made.detach().requires_grad_()
        met = torch.cat([leaf] * J)
        if augmented:
            met = flipped_and_cropped(met, generator)
        hard = worst(attack, model, w, met.detach(), rows.y.repeat(J), generator)
        total = torch.zeros_like(made)
        for draw in range(J):
            for row in range(n):
                at = draw * n + row
                slope = slope_of(model, w, hard[at], rows.y[row])
                total += torch.autograd.grad((met[at] * slope).sum(), leaf, retain_graph=True)[0]
        made = near(made - attack.rate * attack.radius * total.sign(), rows.x, attack.radius)
    return made.detach()


def plain(attack: REM, view: AttackerView, n: int) -> Tensor:
    """The images of the first n rows, with torch's own optimizer and schedule."""
    model, generator = view.model, child_generator(0, "attack")
    assert isinstance(model, NeuralNetwork)
    augmented = view.recipe.augmentation != "none"
    w = {name: value.requires_grad_() for name, value in model.init(generator).items()}
    optimizer = torch.optim.SGD(w.values(), attack.lr, attack.momentum, weight_decay=attack.weight_decay)
    steps = attack.epochs * math.ceil(len(view.train) / attack.batch_size)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [math.ceil(steps * part) for part in (0.4, 0.8)])
    for step in range(steps):
        batch = view.train.rows(
            torch.arange(step * attack.batch_size, (step + 1) * attack.batch_size) % len(view.train)
        )
        met = least(attack, model, w, batch, augmented, generator)
        if augmented:
            met = flipped_and_cropped(met, generator)
        hard = worst(attack, model, w, met, batch.y, generator)
        optimizer.zero_grad()
        F.cross_entropy(model.forward(w, model.normalise(hard)), batch.y).backward()
        optimizer.step()
        schedule.step()
    parts = torch.arange(n).split(attack.batch_size)
    return torch.cat([least(attack, model, w, view.train.rows(part), augmented, generator) for part in parts])


@pytest.mark.parametrize("augmentation", ["none", "flips-and-crops"])
def test_it_is_the_plain_nested_loops(augmentation: Any) -> None:
    """1e-12: signs are the same, so only the last bits of x ± step differ. Batches go round 11 rows; the last batch of
    final noise is not full."""
    game = Game(shape=(1, 8, 8), n_train=11, epsilon=0.7)
    attack = REM(radius=0.1, adversary_radius=0.06, epochs=2, J=2, steps=3, adversary_steps=2, batch_size=4)
    view = view_of(game, attack, augmentation)
    model = view.model
    view = replace(view, model=Network(model.shape, model.classes, model.mean, model.std))
    poison = attack.craft(view, game.budget(attack.threat), Stage(child_generator(0, "attack")))
    expected = plain(attack, view, 7)
    torch.testing.assert_close(poison.x, expected, rtol=0, atol=1e-12)
    assert torch.equal(poison.source, torch.arange(7))
    assert torch.equal(poison.y, view.train.y[:7])
    assert float((poison.x - view.train.x[:7]).abs().max()) == pytest.approx(0.1)


def test_the_noise_keeps_the_tighter_radius_and_steps_with_it() -> None:
    for radius, asked in ((0.05, 0.02), (0.02, 0.05)):
        game, attack = Game(epsilon=1.0, radius=asked), REM(radius=radius, epochs=1, batch_size=60)
        poison = craft(attack, game)
        delta = poison.x - game.samples("train", 60).x
        assert float(delta.abs().max()) == pytest.approx(min(radius, asked or radius), abs=1e-6)


def craft(attack: REM, game: Game) -> PoisonSet:
    return attack.craft(game.attacker(attack.threat), game.budget(attack.threat), Stage(child_generator(0, "attack")))


def test_digits_become_unlearnable() -> None:
    """Trained on D_tr + δᵘ, a network loses 5 points at least on clean images, far outside the ±1.1 of 500, with a
    radius that suits 64 pixels."""
    digits = prepare("digits", DataOptions(offline=True))
    parts = split(digits.train, 0.3, child_generator(0, "split"))
    rows, recipe = parts.train, Recipe(lr=0.1, batch_size=100, epochs=20, momentum=0.9)
    model = build(load("model", "nn"), digits)
    attack = REM(mode=Mode.PERTURBATION, radius=0.3, adversary_radius=0.15, epochs=1, steps=6, adversary_steps=5)
    allowed = Budget(1.0, len(rows), digits.classes, attack.threat)

    def accuracy(samples: Samples) -> tuple[Weights, float]:
        weights = train(model, samples, recipe, Stage(child_generator(0, "train")), "train")
        return weights, 100 * float((model.predict(weights, digits.test.x).argmax(1) == digits.test.y).float().mean())

    clean, acc1 = accuracy(rows)
    view = AttackerView(rows, parts.validation, model, recipe, clean, digits.classes)
    poison = attack.craft(view, allowed, Stage(child_generator(0, "attack")))
    allowed.verify(poison, rows, "rem")
    _, acc2 = accuracy(Samples(poison.x, poison.y, rows.ids))
    assert acc2 < acc1 - 5


def test_threat_model() -> None:
    for mode in Mode:
        threat = REM(mode=mode, radius=0.1).threat
        assert (threat.mode, threat.radius, threat.clean_label) == (mode, 0.1, True)
        assert threat.knowledge is Knowledge.TRAINING_ONLY
    assert REM().threat.radius == 8 / 255


def test_a_search_that_leaves_the_finite_numbers_says_so() -> None:
    with pytest.raises(DivergedError, match=r"rem diverged: loss (nan|inf) in step \d+\. Lower attack\.lr"):
        craft(REM(lr=1e30, weight_decay=0.0), Game(model="nn"))


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"radius": 0.0}, r"attack\.radius: expected a number in \(0, 1\], got 0\.0"),
        ({"adversary_radius": -0.1}, r"attack\.adversary_radius: expected a number in \[0, 1\)"),
        ({"epochs": 0}, r"attack\.epochs: expected an integer ≥ 1, got 0"),
        ({"J": 0}, r"attack\.J"),
        ({"steps": 0}, r"attack\.steps"),
        ({"adversary_steps": 0}, r"attack\.adversary_steps"),
        ({"rate": 1.5}, r"attack\.rate"),
        ({"lr": 0.0}, r"attack\.lr"),
        ({"momentum": 1.0}, r"attack\.momentum"),
        ({"weight_decay": -1.0}, r"attack\.weight_decay"),
        ({"batch_size": 0}, r"attack\.batch_size"),
    ],
)
def test_fields_out_of_range_are_refused(fields: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        REM(**fields)
