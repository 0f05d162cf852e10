"""Adversarial poisoning: the closed form on a linear model, a plain loop, the class that points are taken for, and what
a model learns from them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from poisonbench.attacks.tap import TAP
from poisonbench.augmentation import flipped_and_cropped
from poisonbench.data.base import DataOptions, prepare
from poisonbench.data.split import split
from poisonbench.errors import ConfigError
from poisonbench.models.base import build
from poisonbench.plugins.registry import load
from poisonbench.problem.budget import Budget
from poisonbench.problem.recipe import Recipe
from poisonbench.problem.samples import PoisonSet, Samples
from poisonbench.problem.threat import Knowledge, Mode
from poisonbench.problem.views import AttackerView
from poisonbench.seeding import child_generator
from poisonbench.stages.stage import Stage
from poisonbench.testing import Game
from poisonbench.training import train

f64 = torch.float64


def view_of(game: Game, attack: TAP) -> AttackerView:
    """The game's, in float64."""
    view = game.attacker(attack.threat)
    weights = {name: value.to(f64) for name, value in view.weights.items()}
    return replace(view, train=replace(view.train, x=view.train.x.to(f64)), weights=weights)


def craft(attack: TAP, game: Game, view: AttackerView | None = None) -> PoisonSet:
    seen = view or view_of(game, attack)
    return attack.craft(seen, game.budget(attack.threat), Stage(child_generator(0, "attack")))


@pytest.mark.parametrize("objective", ["targeted", "untargeted"])
def test_on_a_linear_model_of_two_classes_it_is_the_closed_form(objective: Any) -> None:
    """δ = ε_σ sign(w_other − w_y) wherever the box leaves room: both objectives lead to the one other class. 20 steps
    cross half of the ball; a row is where it belongs after 40."""
    game, radius = Game(classes=2, epsilon=0.5), 0.05
    attack = TAP(objective=objective, radius=radius, steps=40)
    view, poison = view_of(game, attack), craft(attack, game)
    w, y = view.weights["linear.weight"], view.train.y[: len(poison)]
    x = view.train.x[: len(poison)].flatten(1)
    expected = (x + radius * (w[1 - y] - w[y]).sign()).clamp(0, 1)
    torch.testing.assert_close(poison.x.flatten(1), expected, rtol=0, atol=1e-12)
    assert torch.equal(poison.y, y)


def plain(attack: TAP, view: AttackerView, radius: float, n: int, restarts: int) -> list[tuple[float, Tensor]]:
    """What each start reaches, and its images, row by row."""
    model, w = view.model, {name: value.clone() for name, value in view.weights.items()}
    generator, found = child_generator(0, "attack"), []
    targeted = attack.objective == "targeted"
    for _ in range(restarts):
        clean = view.train.x[:n]
        noise = torch.randn(clean.shape, generator=generator).to(f64)
        start = clean + (radius * noise).clamp(-radius, radius)
        images, total = start.clamp(0, 1), 0.0
        for row in range(n):
            y = int(view.train.y[row])
            goal = torch.tensor([(y + attack.shift) % view.classes if targeted else y])
            image = images[row : row + 1]
            for _ in range(attack.steps):
                image = image.detach().requires_grad_()
                loss = F.cross_entropy(model.forward(w, model.normalise(image)), goal)
                slope = torch.autograd.grad(loss if targeted else -loss, image)[0]
                moved = image.detach() - attack.rate * radius * slope.sign()
                lowest, highest = clean[row] - radius, clean[row] + radius
                image = torch.minimum(torch.maximum(moved, lowest), highest).clamp(0, 1)
            images[row] = image[0].detach()
            reached = F.cross_entropy(model.forward(w, model.normalise(image)), goal)
            total += float(reached) * (1 if targeted else -1)
        found.append((total / n, images))
    return found


@pytest.mark.parametrize(("objective", "shift"), [("targeted", 1), ("targeted", 3), ("untargeted", 1)])
def test_it_is_the_plain_loop_and_keeps_the_best_start(objective: Any, shift: int) -> None:
    """1e-12: ten steps of exactly representable signs; only the last bits of x ± step differ."""
    game, radius = Game(model="nn", epsilon=0.3), 0.1
    attack = TAP(objective=objective, shift=shift, radius=radius, steps=10, restarts=3)
    poison, view = craft(attack, game), view_of(game, attack)
    starts = plain(attack, view, radius, len(poison), 3)
    reached, images = min(starts, key=lambda start: start[0])
    assert len({round(start[0], 9) for start in starts}) == 3
    torch.testing.assert_close(poison.x, images, rtol=0, atol=1e-12)
    assert poison.stats["objective"] == pytest.approx(reached, rel=1e-6)


@pytest.mark.parametrize("objective", ["targeted", "untargeted"])
def test_every_step_is_worth_it(objective: Any) -> None:
    """More steps reach more, from one start."""
    game = Game(model="nn", epsilon=0.5)
    reached = [
        float(craft(TAP(objective=objective, radius=0.2, steps=steps), game).stats["objective"])
        for steps in (1, 4, 8, 16, 32)
    ]
    assert reached == sorted(reached, reverse=True)
    assert reached[-1] < reached[0] - 0.05


def test_a_step_goes_back_through_the_recipes_augmentation() -> None:
    game, radius = Game(model="nn", shape=(1, 8, 8), epsilon=0.3), 0.1
    attack = TAP(radius=radius, steps=1, rate=1.0)
    view = view_of(game, attack)
    view = replace(view, recipe=replace(view.recipe, augmentation="flips and crops"))
    poison, generator = craft(attack, game, view), child_generator(0, "attack")
    clean, y = view.train.x[: len(poison)], (view.train.y[: len(poison)] + 1) % view.classes
    noise = torch.randn(clean.shape, generator=generator).to(f64)
    start = (clean + (radius * noise).clamp(-radius, radius)).clamp(0, 1).requires_grad_()
    met = view.model.normalise(flipped_and_cropped(start, generator))
    loss = F.cross_entropy(view.model.forward(view.weights, met), y, reduction="sum")
    moved = start.detach() - radius * torch.autograd.grad(loss, start)[0].sign()
    expected = torch.minimum(torch.maximum(moved, clean - radius), clean + radius).clamp(0, 1)
    torch.testing.assert_close(poison.x, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("objective", ["targeted", "untargeted"])
def test_a_network_learns_another_class_from_them(objective: Any) -> None:
    """On the digits, with a radius that suits 64 pixels. Nearly all points are taken for their target; a network that
    trains on them loses 5 points at least on clean images, far outside the ±1.1 of 500, and where targets are y + 1,
    most of its errors say y − 1: what looks like a class had the label below it."""
    digits = prepare("digits", DataOptions(offline=True))
    parts = split(digits.train, 0.3, child_generator(0, "split"))
    rows, recipe = parts.train, Recipe(lr=0.1, batch_size=100, epochs=40)
    model = build(load("model", "nn"), digits)

    def answers(samples: Samples) -> tuple[dict[str, Tensor], Tensor]:
        weights = train(model, samples, recipe, Stage(child_generator(0, "train")), "train")
        return weights, model.predict(weights, digits.test.x).argmax(1)

    clean, before = answers(rows)
    attack = TAP(objective=objective, mode=Mode.PERTURBATION, radius=0.3, steps=60)
    view = AttackerView(rows, parts.validation, model, recipe, clean, digits.classes)
    allowed = Budget(1.0, len(rows), digits.classes, attack.threat)
    poison = attack.craft(view, allowed, Stage(child_generator(0, "attack")))
    allowed.verify(poison, rows, "tap")
    assert float(poison.stats["fooled" if objective == "untargeted" else "on_target"]) > 0.9
    _, after = answers(Samples(poison.x, poison.y, rows.ids))
    y = digits.test.y
    assert float((after == y).float().mean()) < float((before == y).float().mean()) - 0.05
    if objective == "targeted":
        wrong = after != y
        assert float(((after + 1) % 10 == y)[wrong].float().mean()) > 0.5


def test_threat_model() -> None:
    for mode in Mode:
        threat = TAP(mode=mode, radius=0.1).threat
        assert (threat.mode, threat.radius, threat.clean_label) == (mode, 0.1, True)
        assert threat.knowledge is Knowledge.TRAINING_ONLY
    assert TAP().threat.radius == 8 / 255


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"radius": 0.0}, r"attack\.radius: expected a number in \(0, 1\], got 0\.0"),
        ({"steps": 0}, r"attack\.steps: expected an integer ≥ 1, got 0"),
        ({"rate": 1.5}, r"attack\.rate"),
        ({"restarts": 0}, r"attack\.restarts"),
        ({"shift": 0}, r"attack\.shift"),
    ],
)
def test_fields_are_checked(fields: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        TAP(**fields)


def test_no_class_is_its_own_target() -> None:
    with pytest.raises(ConfigError, match=r"attack\.shift: 8 makes each of 4 classes its own target"):
        craft(TAP(shift=8), Game())
    craft(TAP(shift=8, objective="untargeted", steps=1), Game())
