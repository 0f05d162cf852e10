"""The back-gradient against reverse mode and finite differences of the training map, in float64, and what it is for."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from poisonbench.attacks.back_gradient.attack import BackGradient
from poisonbench.attacks.back_gradient.poisoned_descent import PoisonedDescent, rounds
from poisonbench.attacks.label_flip import LabelFlip
from poisonbench.bilevel import adjoint
from poisonbench.bilevel.unrolled import unrolled_gradient
from poisonbench.errors import ConfigError, DivergedError
from poisonbench.plugins.registry import load
from poisonbench.problem.budget import Budget
from poisonbench.problem.samples import PoisonSet, Samples, Weights
from poisonbench.problem.views import AttackerView
from poisonbench.seeding import child_generator
from poisonbench.stages.stage import Stage
from poisonbench.testing import Game

SHAPE, CLASSES, N, STEPS, RATE = (1, 4, 4), 3, 12, 7, 0.3
f64 = torch.float64


def problem(name: str, all_poison: bool = True) -> tuple[PoisonedDescent, Samples, Weights]:
    """A descent of 7 steps on batches of 5 of 12 rows and of all or 3 of 4 poison rows;
    the poison; w_0. With 3 of 4, some step holds one row twice, where two rounds meet."""
    generator = torch.Generator().manual_seed(0)
    model = load("model", name)(SHAPE, CLASSES, (0.4,), (0.5,))
    w0 = {key: value.double() for key, value in model.init(generator).items()}

    def rows(n: int) -> Samples:
        x = torch.rand((n, *SHAPE), generator=generator, dtype=f64)
        return Samples(x, torch.arange(n) % CLASSES, torch.arange(n))

    clean, held_out, poison = rows(N), rows(9), rows(4)
    shares = torch.arange(4).expand(STEPS, -1) if all_poison else rounds(4, 3, STEPS, generator)
    z, held_out_z = model.normalise(clean.x), model.normalise(held_out.x)
    batches = rounds(N, 5, STEPS, generator)
    return PoisonedDescent(model, RATE, z, clean.y, held_out_z, held_out.y, batches, shares), poison, w0


def lower(descent: PoisonedDescent, poison: Samples, x: Tensor, weights: Weights, t: int) -> Tensor:
    """f_t as the class's docstring has it, by the model's forward pass alone."""
    model, batch, share = descent.model, descent.batches[t], descent.shares[t]
    clean = model.loss(model.forward(weights, descent.z[batch], training=True), descent.y[batch])
    crafted = model.loss(model.forward(weights, model.normalise(x[share]), training=True), poison.y[share])
    return (N * clean + 4 * crafted) / (N + 4)


@pytest.mark.parametrize("all_poison", [True, False])
@pytest.mark.parametrize("name", ["lr", "svm", "nn", "cnn"])
def test_adjoint_is_reverse_mode_through_every_step(
    name: str, all_poison: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are exact and differ in rounding alone: 1e-10 over seven steps has a margin of 1e4. The hinge loss and leaky
    ReLU have kinks, which the same weights meet on the same side. The trajectory that is walked twice gives the very
    bits of the one that is kept."""
    descent, poison, w0 = problem(name, all_poison)
    names = list(descent.model.parameters(w0))

    def step(w: list[Tensor], theta: list[Tensor], t: int) -> list[Tensor]:
        f = lower(descent, poison, theta[0], dict(zip(names, w, strict=True)), t)
        return [a - RATE * b for a, b in zip(w, torch.autograd.grad(f, w, create_graph=True), strict=True)]

    def outer(w: list[Tensor]) -> Tensor:
        model = descent.model
        return model.loss(model.forward(dict(zip(names, w, strict=True)), descent.held_out_z), descent.held_out_y)

    (expected,), value, last = unrolled_gradient(step, [w0[key] for key in names], [poison.x], STEPS, outer)
    found, found_value, w_T = descent.back_gradient(poison, w0)
    assert float((found - expected).norm() / expected.norm()) < 1e-10
    assert found_value == pytest.approx(value, rel=1e-12)
    assert all(torch.allclose(w_T[key], part, rtol=1e-10) for key, part in zip(names, last, strict=True))

    monkeypatch.setattr(adjoint, "WHOLE", 0)
    again, _, _ = descent.back_gradient(poison, w0)
    assert torch.equal(again, found)


@pytest.mark.parametrize("name", ["lr", "nn", "cnn"])
def test_gradient_is_that_of_the_training_map(name: str) -> None:
    """Central differences with ε = 1e-6: rounding 1e-16/ε is 1e-10, truncation ε²f‴/6 less, and the gradient is of size
    5e-3; a relative 1e-6 has a margin of 50. Where a ReLU or a maximum switches in some step, w_T jumps, so that a
    larger ε meets a jump: 1e-5 does, at two of the CNN's entries."""
    descent, poison, w0 = problem(name)
    found, _, _ = descent.back_gradient(poison, w0)

    def value(x: Tensor) -> float:
        return descent.back_gradient(Samples(x, poison.y, poison.ids), w0)[1]

    entries = torch.arange(0, poison.x.numel(), 5 if name != "cnn" else 13)
    central = []
    for entry in entries.tolist():
        push = torch.zeros(poison.x.numel(), dtype=f64)
        push[entry] = 1e-6
        push = push.view_as(poison.x)
        central.append((value(poison.x + push) - value(poison.x - push)) / 2e-6)
    expected = torch.tensor(central, dtype=f64)
    assert float((found.flatten()[entries] - expected).norm() / expected.norm()) < 1e-6


def test_batch_statistics_are_copied() -> None:
    """A network with buffers: the gradient is finite, w_0 is as it was, and its statistics come back unmoved."""
    model = load("model", "resnet18")((3, 4, 4), 2, (0.5,) * 3, (0.5,) * 3)
    w0 = model.init(torch.Generator().manual_seed(0))
    before = {name: value.clone() for name, value in w0.items()}
    x = torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    y, z = torch.arange(6) % 2, model.normalise(x)
    rows = torch.arange(6)[None]
    descent = PoisonedDescent(model, 0.1, z, y, z, y, rows, rows)
    ascent, _, w_T = descent.back_gradient(Samples(x, 1 - y, torch.arange(6)), w0)
    assert bool(torch.isfinite(ascent).all())
    assert float(ascent.abs().max()) > 0
    assert all(torch.equal(w0[name], before[name]) for name in w0)
    assert w_T.keys() == w0.keys()
    assert all(torch.equal(w_T[name], w0[name]) for name in model.buffers)


def craft(attack: BackGradient, game: Game) -> tuple[PoisonSet, AttackerView, Budget]:
    view, budget = game.attacker(attack.threat), game.budget(attack.threat)
    return attack.craft(view, budget, Stage(child_generator(0, "attack"))), view, budget


def test_greedy_is_one_point_after_the_other() -> None:
    """By hand: point k alone moves, beside the finished points before it; those after it are not there yet. With every
    row in the batch, its order alone is random: rounding of float32, which T · iterations = 8 steps of size 1e-1 carry
    to less than 1e-4 of a pixel."""
    game = Game()
    attack = BackGradient(T=4, iterations=2, alpha=0.1, start="clean", batch_size=60, greedy=True)
    found, view, budget = craft(attack, game)
    model, n = view.model, len(view.train)
    flipped = LabelFlip(flip="random").craft(view, budget, Stage(child_generator(0, "attack")))
    z, held_out_z = model.normalise(view.train.x), model.normalise(view.validation.x)
    done = flipped.x[:0]
    for k in range(len(flipped)):
        point, source = flipped.x[k : k + 1], flipped.x[k : k + 1]
        for _ in range(2):
            present = Samples(torch.cat([done, point]), flipped.y[: k + 1], torch.arange(k + 1))
            descent = PoisonedDescent(
                model,
                view.recipe.lr,
                z,
                view.train.y,
                held_out_z,
                view.validation.y,
                torch.arange(n).expand(4, -1),
                torch.arange(k + 1).expand(4, -1),
            )
            gradient = descent.back_gradient(present, view.weights)[0][k : k + 1]
            point = budget.project(point + 0.1 * gradient / gradient.norm(), source)
        done = torch.cat([done, point])
    torch.testing.assert_close(found.x, done, rtol=0, atol=1e-4)
    assert float((found.x - flipped.x).flatten(1).norm(dim=1).min()) > 0.01


def test_the_released_preset_is_full_batch_logistic_regression_from_zero() -> None:
    """The released code's loop on two classes, written out: w ← w − 2η ∇, since ours is the difference of two outputs;
    x ← Π(x + α g / ‖g‖) with g through all T steps, one point after the other. 1e-9: rounding in float64."""
    game = Game(classes=2, epsilon=0.05)
    attack = BackGradient(**{**BackGradient.presets["released"], "T": 6, "iterations": 3})
    small, budget = game.attacker(attack.threat), game.budget(attack.threat)
    view = replace(
        small,
        train=replace(small.train, x=small.train.x.double()),
        validation=replace(small.validation, x=small.validation.x.double()),
        weights={name: value.double() for name, value in small.weights.items()},
    )
    found = attack.craft(view, budget, Stage(child_generator(0, "attack")))

    flipped = LabelFlip(flip="random").craft(view, budget, Stage(child_generator(0, "attack")))
    z, held_out = (view.model.normalise(samples.x).flatten(1) for samples in (view.train, view.validation))
    done = flipped.x[:0]
    for k in range(len(flipped)):
        x = flipped.x[k : k + 1]
        y = torch.cat([view.train.y, flipped.y[: k + 1]]).double()
        for _ in range(3):
            x = x.detach().requires_grad_()
            rows = torch.cat([z, view.model.normalise(torch.cat([done, x])).flatten(1)])
            w, b = z.new_zeros(z.shape[1]), z.new_zeros(())
            for _ in range(6):
                wrong = torch.sigmoid(rows @ w + b) - y
                w, b = w - 0.2 * wrong @ rows / len(rows), b - 0.2 * wrong.mean()
            loss = F.binary_cross_entropy_with_logits(held_out @ w + b, view.validation.y.double())
            (ascent,) = torch.autograd.grad(loss, x)
            x = (x + ascent / ascent.norm()).clamp(0, 1)
        done = torch.cat([done, x.detach()])
    torch.testing.assert_close(found.x, done, rtol=0, atol=1e-9)
    assert float((found.x - flipped.x).flatten(1).norm(dim=1).min()) > 0.1


def test_weights_that_are_drawn_once_are_the_same_every_time() -> None:
    """The validation loss before the first step and after it, with points that do not move: the same for `drawn`, and
    not the clean weights'; another every time for `scratch`."""
    ends = {}
    for start in ("clean", "drawn", "scratch"):
        attack = BackGradient(T=2, iterations=2, alpha=1e-12, start=start, descent="full-batch")
        stats = craft(attack, Game(model="nn"))[0].stats
        ends[start] = (float(stats["validation_loss_first"]), float(stats["validation_loss_last"]))
    assert ends["drawn"][0] == pytest.approx(ends["drawn"][1], rel=1e-6)
    assert ends["scratch"][0] != pytest.approx(ends["scratch"][1], rel=1e-4)
    assert ends["drawn"][0] != pytest.approx(ends["clean"][0], rel=1e-3)


def test_zero_is_no_start_of_a_network() -> None:
    with pytest.raises(ConfigError, match=r"attack\.start: zero needs a linear model.*take drawn"):
        craft(BackGradient(start="zero"), Game(model="nn"))


@pytest.mark.parametrize("start", ["carried", "clean", "scratch"])
def test_ascent_raises_the_retrained_validation_loss(start: str) -> None:
    game = Game(epsilon=0.2)
    attack = BackGradient(T=30, iterations=15, alpha=0.2, start=start)
    poison, view, budget = craft(attack, game)
    flipped = LabelFlip(flip="random").craft(view, budget, Stage(child_generator(0, "attack")))
    losses = []
    for crafted in (flipped, poison):
        rows = view.train.plus(Samples(crafted.x, crafted.y, crafted.source))
        losses.append(float(view.model.loss(view.model.predict(game.fit(rows), view.validation.x), view.validation.y)))
    assert torch.equal(poison.y, flipped.y)
    assert torch.equal(poison.source, flipped.source)
    assert losses[1] > losses[0] + 0.01
    assert poison.stats["validation_loss_last"] > poison.stats["validation_loss_first"]


def test_a_normalised_step_has_length_alpha_and_a_radius_is_kept() -> None:
    attack = BackGradient(T=2, iterations=1, alpha=1e-3)
    poison, view, _ = craft(attack, Game())
    moved = (poison.x - view.train.x[poison.source]).flatten(1).norm(dim=1)
    # float32 pixels near 1 are 1e-7 apart; sixteen of them, on a step of 1e-3, are 4e-4 of it.
    assert torch.allclose(moved, torch.full_like(moved, 1e-3), rtol=2e-3)
    bounded, view, _ = craft(BackGradient(T=2, iterations=3), Game(radius=0.05))
    assert float((bounded.x - view.train.x[bounded.source]).abs().max()) == pytest.approx(0.05, abs=1e-6)


def test_rounds_take_every_row_once_before_any_comes_again() -> None:
    drawn = rounds(6, 4, 3, torch.Generator().manual_seed(0)).flatten()
    assert torch.equal(drawn[:6].sort().values, torch.arange(6))
    assert torch.equal(drawn[6:].sort().values, torch.arange(6))


def test_divergence_says_what_to_do() -> None:
    with pytest.raises(DivergedError, match=r"Lower attack\.eta"):
        craft(BackGradient(T=30, iterations=1, eta=1e30), Game(model="nn"))


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"T": 0}, r"attack\.T: expected an integer ≥ 1, got 0"),
        ({"iterations": 0}, r"attack\.iterations"),
        ({"batch_size": -1}, r"attack\.batch_size"),
        ({"batch_size": 5, "descent": "full-batch"}, r"attack\.batch_size belongs to attack\.descent=minibatch"),
        ({"poison_batch_size": -1}, r"attack\.poison_batch_size"),
        ({"alpha": 0.0}, r"attack\.alpha"),
        ({"eta": math.inf}, r"attack\.eta"),
    ],
)
def test_fields_out_of_range_are_refused(fields: dict[str, object], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        BackGradient(**fields)
