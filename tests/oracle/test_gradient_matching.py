"""Gradient matching: its similarity, the slope in the pixels, and that the matching works."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from poisonbench.attacks.gradient_matching import (
    GradientMatching,
    adversarial_gradient,
    channel_deviations,
    dissimilarity,
    reverse_cross_entropy,
)
from poisonbench.attacks.poison_gradient import mean_gradient, pull_back
from poisonbench.errors import ConfigError
from poisonbench.models.base import Model
from poisonbench.plugins.registry import load
from poisonbench.problem.budget import Budget
from poisonbench.problem.samples import PoisonSet, Weights
from poisonbench.problem.threat import ThreatModel
from poisonbench.problem.views import AttackerView
from poisonbench.seeding import child_generator
from poisonbench.stages.stage import Stage
from poisonbench.testing import Game

f64 = torch.float64


def problem(name: str) -> tuple[Model, Weights, Tensor, Tensor]:
    model: Model = load("model", name)((1, 4, 4), 3, (0.5,), (0.5,))
    w = {key: value.to(f64).requires_grad_() for key, value in model.init(child_generator(0, "init")).items()}
    return model, w, torch.rand((4, 1, 4, 4), generator=child_generator(0, "x"), dtype=f64), torch.tensor([0, 1, 2, 0])


def test_dissimilarity_is_0_when_parallel_1_when_orthogonal_2_when_opposite() -> None:
    a = torch.tensor([3.0, 4.0, 0.0], dtype=f64)
    for b, expected in ((2 * a, 0.0), (torch.tensor([0.0, 0.0, 1.0], dtype=f64), 1.0), (-a, 2.0)):
        assert dissimilarity(a, b)[0] == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("name", ["lr", "nn", "cnn"])
def test_the_slope_in_the_pixels_is_that_of_finite_differences(name: str) -> None:
    """Central differences at h = 1e-5 in float64: h² and rounding / h are both about 1e-10, so 1e-6 has a margin."""
    model, w, x, y = problem(name)
    wanted = torch.randn(mean_gradient(model, w, x, y).shape, generator=child_generator(0, "wanted"), dtype=f64)
    clean = 0.1 * wanted.flip(0)

    def value(x: Tensor) -> float:
        return dissimilarity(clean + 0.3 * mean_gradient(model, w, x, y), wanted)[0]

    _, u = dissimilarity(clean + 0.3 * mean_gradient(model, w, x, y), wanted)
    slope, h = 0.3 * pull_back(model, w, u, x, y), 1e-5
    for pixel in [(0, 0, 1, 2), (1, 0, 0, 0), (3, 0, 3, 1)]:
        nudge = torch.zeros_like(x)
        nudge[pixel] = h
        assert float(slope[pixel]) == pytest.approx((value(x + nudge) - value(x - nudge)) / (2 * h), rel=1e-6, abs=1e-9)


def test_chunks_do_not_change_the_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    model, w, x, y = problem("cnn")
    u = torch.ones_like(mean_gradient(model, w, x, y))
    whole = mean_gradient(model, w, x, y), pull_back(model, w, u, x, y)
    monkeypatch.setattr("poisonbench.attacks.poison_gradient.CHUNK", 3)
    parts = mean_gradient(model, w, x, y), pull_back(model, w, u, x, y)
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-14)


def test_reverse_cross_entropy() -> None:
    """−log(1 − p_y), and finite where p_y rounds to 1: there it is the margin, 100 − log 2."""
    logits = torch.randn((5, 3), generator=child_generator(0, "logits"), dtype=f64)
    y = torch.tensor([0, 1, 2, 0, 1])
    expected = -torch.log(1 - torch.softmax(logits, 1).gather(1, y[:, None]).squeeze(1))
    torch.testing.assert_close(reverse_cross_entropy(logits, y), expected)
    sure = reverse_cross_entropy(torch.tensor([[100.0, 0.0, 0.0]], dtype=f64), torch.tensor([0]))
    assert float(sure) == pytest.approx(100 - math.log(2))


def test_the_adversarys_gradient() -> None:
    """A step against it raises the cross entropy, whichever f′; `negative` is minus the training gradient."""
    view = Game().attacker(ThreatModel())
    w = {name: value.clone().requires_grad_() for name, value in view.weights.items()}
    clean = mean_gradient(view.model, w, view.train.x, view.train.y)
    assert torch.equal(adversarial_gradient(view.model, w, view.train, "negative"), -clean)
    assert float(torch.dot(adversarial_gradient(view.model, w, view.train, "reverse"), clean)) < 0


def craft(attack: GradientMatching, game: Game) -> PoisonSet:
    view = game.attacker(attack.threat)
    return attack.craft(view, game.budget(attack.threat), Stage(child_generator(0, "attack")))


@pytest.mark.parametrize("matched", ["poison", "union"])
def test_matching_brings_the_gradients_together(matched: str) -> None:
    """From unrelated, 1 or so, to nearly parallel; the record's figure is that of the points returned."""
    game, attack = Game(epsilon=0.3), GradientMatching(matched=matched, steps=100)
    poison = craft(attack, game)
    before = craft(GradientMatching(matched=matched, steps=1, rate=1e-9), game).stats["dissimilarity"]
    view = game.attacker(attack.threat)
    w = {name: value.clone().requires_grad_() for name, value in view.weights.items()}
    made = 0.3 * mean_gradient(view.model, w, poison.x, poison.y)
    if matched == "union":
        made = made + mean_gradient(view.model, w, view.train.x, view.train.y)
    after = 1 - F.cosine_similarity(made, adversarial_gradient(view.model, w, view.train, "reverse"), dim=0)
    assert poison.stats["dissimilarity"] == pytest.approx(float(after), abs=1e-6)
    assert isinstance(before, float)
    assert float(after) < 0.6 * before


def contrasts() -> tuple[AttackerView, Budget]:
    """A game of three channels of different contrast, ε = 1, within 16/255; no pixel is at an end of the box."""
    game = Game(shape=(3, 4, 4), epsilon=1.0)
    view = game.attacker(GradientMatching().threat)
    x = 0.5 + (view.train.x - 0.5) * torch.tensor([0.1, 0.3, 0.8])[:, None, None]
    return replace(view, train=replace(view.train, x=x)), game.budget(GradientMatching(radius=16 / 255).threat)


def test_a_step_in_their_units_is_a_tenth_of_each_channel_s_deviation() -> None:
    """Adam's first step has the length of the rate whatever the gradient; 1e-2 is float32 on pixels near one half."""
    view, budget = contrasts()
    poison = GradientMatching(steps=1, unit="deviation").craft(
        view, replace(budget, threat=ThreatModel()), Stage(child_generator(0, "attack"))
    )
    moved = (poison.x - view.train.x).abs()
    for channel in range(3):
        length = 0.1 * float(view.train.x[:, channel].std(correction=0))
        own = moved[:, channel]
        assert float((own > 0).float().mean()) > 0.9
        assert own[own > 0].median() == pytest.approx(length, rel=1e-2)


def test_their_restarts_begin_at_clipped_normal_noise_within_the_radius() -> None:
    """A rate of 1e-9 leaves the start. Of normal noise of the radius' deviation, 31.7 % is clipped to it; of 2,880
    draws that has a standard error of 0.9 points."""
    view, budget = contrasts()
    found = [
        GradientMatching(**{**GradientMatching.presets["geiping"], **fields}, steps=1, rate=1e-9).craft(
            view, budget, Stage(child_generator(0, "attack"))
        )
        for fields in ({"restarts": 1}, {"start": "clean", "restarts": 1})
    ]
    noise = (found[0].x - view.train.x) * 255 / 16
    assert float(noise.abs().max()) < 1 + 1e-4
    assert float((noise.abs() > 1 - 1e-4).float().mean()) == pytest.approx(0.317, abs=0.04)
    assert float(noise.mean()) == pytest.approx(0.0, abs=0.06)
    torch.testing.assert_close(found[1].x, view.train.x, rtol=0, atol=1e-6)


def test_a_constant_channel_has_a_unit() -> None:
    assert torch.equal(channel_deviations(torch.ones(3, 2, 2, 2)), torch.ones(2, 1, 1))


def test_restarts_keep_the_best() -> None:
    game = Game(model="nn")
    found = [craft(GradientMatching(steps=5, restarts=restarts), game).stats["dissimilarity"] for restarts in (1, 4)]
    assert found[1] <= found[0]


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"steps": 0}, r"attack\.steps"),
        ({"restarts": 0}, r"attack\.restarts"),
        ({"rate": 0.0}, r"attack\.rate"),
        ({"radius": 2.0}, r"attack\.radius: expected a number in \(0, 1\] or null, got 2\.0"),
    ],
)
def test_fields_out_of_range_are_refused(fields: dict[str, object], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        GradientMatching(**fields)
