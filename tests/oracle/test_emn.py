"""Error-minimising noise: its steps in closed form, its optimizer, its stopping rule, and what it is for."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from poisonbench.attacks.emn import EMN, descend_classes, first_of_each_class
from poisonbench.attacks.learner import Learner
from poisonbench.attacks.pixel_sign import descend_rows, input_gradient
from poisonbench.data.base import DataOptions, prepare
from poisonbench.data.split import split
from poisonbench.errors import ConfigError, DivergedError
from poisonbench.models.base import Model, build
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

SHAPE, CLASSES, MEAN, STD = (2, 3, 3), 4, (0.4, 0.6), (0.3, 0.2)
ALPHA = 0.01
f64 = torch.float64


def toy(model_name: str = "lr") -> tuple[Model, Weights, Samples]:
    """A model of two channels with its weights and 24 rows, whose pixels keep 0.2 off the box; float64."""
    generator = torch.Generator().manual_seed(0)
    model: Model = load("model", model_name)(SHAPE, CLASSES, MEAN, STD)
    w = {name: value.to(f64) for name, value in model.init(generator).items()}
    x = 0.2 + 0.6 * torch.rand((24, *SHAPE), generator=generator, dtype=f64)
    return model, w, Samples(x, torch.arange(24) % CLASSES, torch.arange(24))


def budget(radius: float | None = None, n: int = 24) -> Budget:
    return Budget(1.0, n, CLASSES, EMN(radius=1.0).threat, radius)


def slopes(w: Weights, x: Tensor, y: Tensor) -> Tensor:
    """Wᵀ (p − y) / std for each row, the p of softmax regression written out."""
    mean, std = (torch.tensor(part, dtype=f64).repeat_interleave(9) for part in (MEAN, STD))
    scores = ((x.flatten(1) - mean) / std) @ w["linear.weight"].T + w["linear.bias"]
    p = scores.exp() / scores.exp().sum(1, keepdim=True)
    return ((p - torch.eye(CLASSES, dtype=f64)[y]) @ w["linear.weight"] / std).view_as(x)


def test_the_gradient_of_a_linear_model_in_the_pixels_is_the_closed_form() -> None:
    """1e-12: a few tens of float64 operations on numbers of order one."""
    model, w, rows = toy()
    torch.testing.assert_close(
        input_gradient(model, w, rows.x, rows.y), slopes(w, rows.x, rows.y), rtol=1e-12, atol=1e-12
    )


def test_one_step_of_a_row_is_the_closed_form() -> None:
    """δ = −α sign(Wᵀ (p − y) / std); no gradient is zero and no pixel near the box, so only rounding is left."""
    model, w, rows = toy()
    made = descend_rows(partial(input_gradient, model, w, y=rows.y), rows.x, rows.x, ALPHA, 1, budget())
    torch.testing.assert_close(made - rows.x, -ALPHA * slopes(w, rows.x, rows.y).sign(), rtol=0, atol=1e-15)
    assert bool((made < rows.x).any())
    assert bool((made > rows.x).any())


def test_one_step_of_a_class_is_the_sign_of_its_mean_gradient() -> None:
    """In one part or in three, from noise that is not zero."""
    model, w, rows = toy()
    noise = 0.1 * torch.rand((CLASSES, *SHAPE), generator=torch.Generator().manual_seed(1), dtype=f64) - 0.05
    slope = slopes(w, rows.x + noise[rows.y], rows.y)
    expected = noise - ALPHA * torch.stack([slope[rows.y == label].mean(0).sign() for label in range(CLASSES)])
    for size in (24, 10):
        parts = [rows.rows(index) for index in torch.arange(24).split(size)]
        found = descend_classes(model, w, noise, parts, ALPHA, 1.0, budget())
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-15)
    assert bool((slope.sign() != (noise - expected)[rows.y].sign()).any()), "rows and classes agree: nothing is tested"


def test_the_noise_of_a_class_stays_in_its_ball() -> None:
    model, w, rows = toy()
    noise = torch.zeros((CLASSES, *SHAPE), dtype=f64)
    for _ in range(12):
        noise = descend_classes(model, w, noise, [rows], ALPHA, 0.05, budget(0.05))
    assert float(noise.abs().max()) == 0.05


@pytest.mark.parametrize("name", ["lr", "nn"])
def test_steps_on_the_pixels_lower_the_loss_of_every_row(name: str) -> None:
    """A step of α in every pixel lowers the loss by α ‖∇‖₁ to first order; at least half of it allows for curvature."""
    model, w, rows = toy(name)

    def losses(x: Tensor) -> Tensor:
        return model.losses(model.forward(w, model.normalise(x)), rows.y)

    promised = ALPHA * input_gradient(model, w, rows.x, rows.y).abs().flatten(1).sum(1)
    made = descend_rows(partial(input_gradient, model, w, y=rows.y), rows.x, rows.x, ALPHA, 1, budget())
    assert bool((losses(rows.x) - losses(made) > promised / 2).all())


def test_steps_of_the_weights_are_those_of_torch_with_clipping() -> None:
    """Six steps, of which some are clipped and some are not; 1e-12 is rounding in float64 times six."""
    model, w, rows = toy("nn")
    learner = Learner(model, momentum=0.9, weight_decay=5e-4, clip=0.41)
    ours = {name: value.clone().requires_grad_() for name, value in w.items()}
    theirs = {name: value.clone().requires_grad_() for name, value in w.items()}
    velocity = [torch.zeros_like(value) for value in model.parameters(ours).values()]
    optimizer = torch.optim.SGD(list(theirs.values()), lr=0.05, momentum=0.9, weight_decay=5e-4)
    clipped = []
    for step in range(6):
        x, y = rows.x[4 * step : 4 * step + 4], rows.y[4 * step : 4 * step + 4]
        learner.step(ours, velocity, x, y, 0.05)
        optimizer.zero_grad()
        F.cross_entropy(model.forward(theirs, model.normalise(x)), y).backward()
        clipped.append(float(torch.nn.utils.clip_grad_norm_(theirs.values(), 0.41)) > 0.41)
        optimizer.step()
    assert set(clipped) == {True, False}
    for name in w:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-12, atol=1e-12)


def craft(attack: EMN, game: Game | None = None) -> tuple[PoisonSet, AttackerView]:
    played = game or Game()
    view = played.attacker(attack.threat)
    return attack.craft(view, played.budget(attack.threat), Stage(child_generator(0, "attack"))), view


class Network(NeuralNetwork):
    """The fully connected network with float64 weights."""

    def init(self, generator: torch.Generator) -> Weights:
        """See Model."""
        return {name: value.to(f64) for name, value in super().init(generator).items()}


def near(x: Tensor, source: Tensor, radius: float) -> Tensor:
    return torch.minimum(torch.maximum(x, source - radius), source + radius).clamp(0, 1)


def slope_of(model: Model, w: Weights, image: Tensor, y: Tensor) -> Tensor:
    leaf = image.detach()[None].requires_grad_()
    return torch.autograd.grad(F.cross_entropy(model.forward(w, model.normalise(leaf)), y[None]), leaf)[0][0]


def plain(attack: EMN, view: AttackerView) -> tuple[Tensor, list[float]]:
    """The images of all of D_tr and the loss after each round: rows one after the other, torch's own optimizer."""
    model, x, y, radius = view.model, view.train.x, view.train.y, attack.radius
    w = {name: value.requires_grad_() for name, value in model.init(child_generator(0, "attack")).items()}
    optimizer = torch.optim.SGD(w.values(), attack.lr, attack.momentum, weight_decay=attack.weight_decay)
    class_wise = attack.noise == "class-wise"
    noise = torch.zeros((view.classes if class_wise else len(x), *x.shape[1:]), dtype=f64)
    followed = [
        row for row in range(len(x)) if int((y[:row] == y[row]).sum()) < attack.subset * int((y == y[row]).sum())
    ]
    losses, place = [], 0

    def image(row: int) -> Tensor:
        return near(x[row] + noise[y[row] if class_wise else row], x[row], radius)

    for _ in range(attack.max_rounds):
        for _ in range(attack.M):
            rows = [(place + k) % len(x) for k in range(attack.batch_size)]
            place += attack.batch_size
            optimizer.zero_grad()
            met = torch.stack([image(row) for row in rows])
            F.cross_entropy(model.forward(w, model.normalise(met)), y[rows]).backward()
            torch.nn.utils.clip_grad_norm_(w.values(), attack.clip)
            optimizer.step()
        for _ in range(attack.steps):
            slopes = {row: slope_of(model, w, image(row), y[row]) for row in followed}
            for at in range(len(noise)):
                own = [slopes[row] for row in followed if (int(y[row]) if class_wise else row) == at]
                noise[at] -= attack.alpha * torch.stack(own).mean(0).sign()
                noise[at] = (
                    noise[at].clamp(-radius, radius) if class_wise else near(x[at] + noise[at], x[at], radius) - x[at]
                )
        logits = model.forward(w, model.normalise(torch.stack([image(row) for row in followed])))
        losses.append(float(F.cross_entropy(logits, y[followed]).detach()))
    return torch.stack([image(row) for row in range(len(x))]), losses


@pytest.mark.parametrize(("noise", "subset"), [("sample-wise", 1.0), ("class-wise", 1.0), ("class-wise", 0.5)])
def test_it_is_the_plain_nested_loops(noise: Any, subset: float) -> None:
    """1e-12: signs are the same, so only the last bits of x ± α differ, and those of a loss of order one. Batches go
    round 11 rows; δ meets the ball and the box."""
    game = Game(n_train=11, epsilon=1.0)
    attack = EMN(
        noise=noise, subset=subset, radius=0.1, alpha=0.04, M=2, steps=2, max_rounds=3, stop_error=0.0, batch_size=4
    )
    view = game.attacker(attack.threat)
    model = Network(*(getattr(view.model, name) for name in ("shape", "classes", "mean", "std")))
    view = replace(view, model=model, train=replace(view.train, x=view.train.x.to(f64)))
    expected, losses = plain(attack, view)
    for rounds, loss in enumerate(losses, 1):
        cut = replace(attack, max_rounds=rounds)
        poison = cut.craft(view, game.budget(attack.threat), Stage(child_generator(0, "attack")))
        assert poison.stats["train_loss"] == pytest.approx(loss, abs=1e-12)
    torch.testing.assert_close(poison.x, expected, rtol=0, atol=1e-12)
    assert float((poison.x - view.train.x).abs().max()) == pytest.approx(0.1)


def test_the_momentum_and_the_place_in_the_data_outlast_a_round() -> None:
    """Noise of 1e-9 is none: three rounds of two steps and one of six then end in the same weights. The loss is a
    sum of 60 float32 numbers; 1e-5 is their rounding and the noise's effect, and a lost momentum moves it by 1e-2."""
    losses = [
        craft(EMN(M=M, max_rounds=rounds, alpha=1e-9, steps=1, stop_error=0.0))[0].stats["train_loss"]
        for M, rounds in ((2, 3), (6, 1))
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize("noise", ["sample-wise", "class-wise"])
def test_noise_keeps_the_tighter_radius_and_the_box_and_goes_both_ways(noise: Any) -> None:
    for radius, asked in ((0.05, None), (0.05, 0.02), (0.02, 0.05)):
        game = Game(epsilon=1.0, radius=asked)
        poison, view = craft(EMN(noise=noise, radius=radius, alpha=0.01, max_rounds=3, stop_error=0.0), game)
        delta = poison.x - view.train.x
        tight = min(radius, asked or radius)
        assert float(delta.abs().max()) == pytest.approx(tight, abs=1e-6)
        assert float(delta.max()) > tight / 2
        assert float(delta.min()) < -tight / 2
        assert float(poison.x.min()) >= 0
        assert float(poison.x.max()) <= 1


def test_class_wise_noise_is_one_pattern_a_class() -> None:
    """Up to the box and the rounding of x + δ − x in float32."""
    poison, view = craft(EMN(noise="class-wise", radius=0.05, alpha=0.01, max_rounds=2), Game(epsilon=1.0))
    delta, clean = poison.x - view.train.x, view.train.x
    free = (clean > 0.05) & (clean < 0.95)
    for label in range(4):
        mine = view.train.y == label
        low = delta[mine].masked_fill(~free[mine], math.inf).amin(0)
        high = delta[mine].masked_fill(~free[mine], -math.inf).amax(0)
        assert float((high - low).max()) < 1e-6


def test_the_first_of_each_class() -> None:
    y = torch.tensor([2, 0, 0, 2, 1, 0, 2, 0, 2, 2])
    assert first_of_each_class(y, 1.0).tolist() == list(range(10))
    assert first_of_each_class(y, 0.5).tolist() == [0, 1, 2, 3, 4, 6]
    assert first_of_each_class(y, 0.01).tolist() == [0, 1, 4]
    assert len(first_of_each_class(torch.zeros(35, dtype=torch.int64), 0.2)) == 7


def test_class_wise_noise_of_a_subset_is_made_and_judged_on_it_alone() -> None:
    """By hand from the fresh weights, which a step size of 1e-12 leaves: three steps on two rows of each class, and
    the error there. float32 in the same order, so to the bit but for the weights."""
    attack = EMN(
        noise="class-wise", subset=0.1, radius=0.1, alpha=0.02, M=1, steps=3, max_rounds=1, stop_error=0.0, lr=1e-12
    )
    game = Game(model="nn", epsilon=1.0)
    poison, view = craft(attack, game)
    w = view.model.init(child_generator(0, "attack"))
    rows, allowed = view.train.rows(first_of_each_class(view.train.y, 0.1)), game.budget(attack.threat)
    noise = torch.zeros((4, *view.train.x.shape[1:]))
    for _ in range(3):
        noise = descend_classes(view.model, w, noise, [rows], 0.02, 0.1, allowed)
    torch.testing.assert_close(poison.x, allowed.project(view.train.x + noise[view.train.y], view.train.x))
    made = allowed.project(rows.x + noise[rows.y], rows.x)
    logits = view.model.predict(w, made)
    wrong, loss = logits.argmax(1) != rows.y, float(view.model.loss(logits, rows.y))
    assert len(rows) == 8
    assert poison.stats["train_loss"] == pytest.approx(loss, rel=1e-5)
    assert poison.stats["train_error"] == pytest.approx(float(wrong.float().mean()), abs=1e-6)
    whole, _ = craft(replace(attack, subset=1.0), game)
    assert float((poison.x - whole.x).abs().max()) > 0.01
    assert poison.stats["train_loss"] != pytest.approx(whole.stats["train_loss"], rel=1e-3)


def test_noise_makes_the_data_easy() -> None:
    """The loss that is reached on D_tr + δ is below that of the same steps of w without noise."""
    settings: dict[str, Any] = {"max_rounds": 3, "stop_error": 0.0, "M": 4}
    without = craft(EMN(alpha=1e-9, **settings))[0].stats["train_loss"]
    for noise in ("sample-wise", "class-wise"):
        assert craft(EMN(noise=noise, radius=0.1, alpha=0.01, **settings))[0].stats["train_loss"] < 0.5 * without


def test_the_search_ends_below_the_error_or_after_the_last_round() -> None:
    """Against the errors of searches that were cut after 1, 2, … rounds."""
    settings: dict[str, Any] = {"M": 1, "radius": 0.1, "alpha": 0.01, "steps": 4}
    cut = [craft(EMN(stop_error=0.0, max_rounds=rounds, **settings))[0].stats for rounds in range(1, 9)]
    errors = [stats["train_error"] for stats in cut]
    assert [stats["rounds"] for stats in cut] == list(range(1, 9))
    assert not any(stats["reached"] for stats in cut)
    assert len(set(errors)) > 4
    for limit in sorted(set(errors) - {0.0}):
        ended = craft(EMN(stop_error=limit, max_rounds=8, **settings))[0].stats
        below = [index for index, error in enumerate(errors) if error < limit]
        assert ended["reached"] == bool(below)
        assert ended["rounds"] == (below[0] + 1 if below else 8)


def test_noise_is_crafted_on_the_whole_set_whatever_epsilon() -> None:
    few, view = craft(EMN(max_rounds=2))
    many, _ = craft(EMN(max_rounds=2, mode=Mode.PERTURBATION), Game(epsilon=1.0))
    assert len(few) == 6
    assert len(many) == len(view.train)
    assert torch.equal(few.x, many.x[:6])
    for poison in (few, many):
        assert torch.equal(poison.source, torch.arange(len(poison)))
        assert torch.equal(poison.y, view.train.y[: len(poison)])


def test_batch_statistics_move_with_the_weights_and_not_with_the_pixels() -> None:
    """A batch-normalised network: crafting works, and a step on the pixels leaves running means alone."""
    poison, view = craft(
        EMN(M=2, steps=2, max_rounds=2, stop_error=0.0),
        Game(model="resnet18", shape=(3, 8, 8), n_train=12, n_validation=8),
    )
    assert bool((poison.x != view.train.x[: len(poison)]).any())
    before = {name: view.weights[name].clone() for name in view.model.buffers}
    input_gradient(view.model, view.weights, view.train.x, view.train.y)
    assert all(torch.equal(view.weights[name], value) for name, value in before.items())


def test_threat_model() -> None:
    for mode in Mode:
        threat = EMN(mode=mode, radius=0.1).threat
        assert (threat.mode, threat.radius, threat.clean_label) == (mode, 0.1, True)
        assert threat.knowledge is Knowledge.TRAINING_ONLY
    assert EMN().threat.radius == 8 / 255


@pytest.mark.parametrize(("noise", "name"), [("sample-wise", "nn"), ("class-wise", "svm")])
def test_digits_become_unlearnable(noise: Any, name: str) -> None:
    """Trained on D_tr + δ, a model is worse on clean images than one trained on D_tr: by 5 points at least, far outside
    the ±1.1 of 500 images, with a radius that suits 64 pixels (8/255 does nothing there)."""
    digits = prepare("digits", DataOptions(offline=True))
    parts = split(digits.train, 0.3, child_generator(0, "split"))
    rows, held_out = parts.train, parts.validation
    model, recipe = build(load("model", name), digits), Recipe(lr=0.1, batch_size=100, epochs=40)

    def accuracy(samples: Samples) -> tuple[Weights, float]:
        weights = train(model, samples, recipe, Stage(child_generator(0, "train")), "train")
        return weights, 100 * float((model.predict(weights, digits.test.x).argmax(1) == digits.test.y).float().mean())

    clean, acc1 = accuracy(rows)
    attack = EMN(noise=noise, mode=Mode.PERTURBATION, radius=0.3, alpha=0.03)
    view = AttackerView(rows, held_out, model, recipe, clean, digits.classes)
    allowed = Budget(1.0, len(rows), digits.classes, attack.threat)
    poison = attack.craft(view, allowed, Stage(child_generator(0, "attack")))
    allowed.verify(poison, rows, "emn")
    _, acc2 = accuracy(Samples(poison.x, poison.y, rows.ids))
    assert acc2 < acc1 - 5


def test_a_search_that_leaves_the_finite_numbers_says_so() -> None:
    with pytest.raises(DivergedError, match=r"emn diverged: loss (nan|inf) in round \d+\. Lower attack\.lr"):
        craft(EMN(lr=1e30, clip=1e30, weight_decay=0.0, max_rounds=5), Game(model="nn"))


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"radius": 0.0}, r"attack\.radius: expected a number in \(0, 1\], got 0\.0"),
        ({"radius": 8.0}, r"attack\.radius"),
        ({"M": 0}, r"attack\.M: expected an integer ≥ 1, got 0"),
        ({"steps": 0}, r"attack\.steps"),
        ({"max_rounds": 0}, r"attack\.max_rounds"),
        ({"batch_size": -1}, r"attack\.batch_size"),
        ({"alpha": math.nan}, r"attack\.alpha: expected a number > 0, got nan"),
        ({"lr": 0.0}, r"attack\.lr"),
        ({"clip": math.inf}, r"attack\.clip"),
        ({"subset": 0.0, "noise": "class-wise"}, r"attack\.subset: expected a number in \(0, 1\], got 0"),
        ({"subset": 0.5}, r"attack\.subset belongs to attack\.noise=class-wise"),
        ({"stop_error": 1.0}, r"attack\.stop_error: expected a number in \[0, 1\)"),
        ({"momentum": 1.0}, r"attack\.momentum"),
        ({"weight_decay": -1.0}, r"attack\.weight_decay"),
    ],
)
def test_fields_out_of_range_are_refused(fields: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        EMN(**fields)
