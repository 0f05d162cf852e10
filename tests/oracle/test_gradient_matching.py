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
from poisonbench.problem.threat import Mode, ThreatModel
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
    game, attack = Game(epsilon=0.313), GradientMatching(matched=matched, steps=100)  # 18 of 60 rows
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


def in_double(game: Game, attack: GradientMatching) -> tuple[AttackerView, Budget]:
    """The game's view in float64, and the attack's budget."""
    view = game.attacker(attack.threat)
    weights = {name: value.to(f64) for name, value in view.weights.items()}
    return replace(view, train=replace(view.train, x=view.train.x.to(f64)), weights=weights), game.budget(attack.threat)


@pytest.mark.parametrize("matched", ["poison", "union"])
@pytest.mark.parametrize(("epsilon", "size"), [(1.0, 0), (0.3, 0), (1.0, 25)])
def test_in_the_place_of_their_sources_the_points_are_matched_with_what_is_then_trained_on(
    matched: str, epsilon: float, size: int
) -> None:
    """S by its definition, with the rows in place, from gradients of torch's own cross entropy; and its slope in the
    pixels by central differences, as above."""
    attack = GradientMatching(mode=Mode.PERTURBATION, matched=matched, batch_size=size, adversary="negative")
    view, budget = in_double(Game(model="nn", epsilon=epsilon), attack)
    matching, n, y = attack._matching(view, budget), budget.n_poison, view.train.y
    w = {name: value.clone().requires_grad_() for name, value in view.weights.items()}
    images = (view.train.x[:n] + 0.1 * torch.rand((n, 1, 4, 4), generator=child_generator(0, "δ"), dtype=f64)).clamp(
        0, 1
    )

    def gradient(x: Tensor, y: Tensor) -> Tensor:
        loss = F.cross_entropy(view.model.forward(w, view.model.normalise(x)), y)
        return torch.cat([part.flatten() for part in torch.autograd.grad(loss, [w[name] for name in sorted(w)])])

    def dissimilar(x: Tensor) -> float:
        found = []
        for part in torch.arange(n).split(size or n):
            made = gradient(x[part], y[part])
            if matched == "union" and n < len(y):
                made = (n * made + (len(y) - n) * gradient(view.train.x[n:], y[n:])) / len(y)
            found.append(1 - F.cosine_similarity(made, -gradient(view.train.x, y), dim=0))
        return float(torch.stack(found).mean())

    loss, slope = matching.slope(images, y[:n])
    assert loss == pytest.approx(dissimilar(images), rel=1e-12)
    assert matching.loss(images, y[:n]) == loss
    scale, h = matching.share / len(torch.arange(n).split(size or n)), 1e-5
    for pixel in [(0, 0, 1, 2), (17, 0, 0, 0), (n - 1, 0, 3, 1)]:
        nudge = torch.zeros_like(images)
        nudge[pixel] = h
        expected = (dissimilar(images + nudge) - dissimilar(images - nudge)) / (2 * h)
        assert scale * float(slope[pixel]) == pytest.approx(expected, rel=1e-5, abs=1e-9)


def test_batches_that_are_copies_of_the_whole_make_what_the_whole_makes() -> None:
    """D_tr holds its 20 rows three times: each batch's mean gradient is the whole's. 1e-12: signs are the same."""
    attack = GradientMatching(mode=Mode.PERTURBATION, matched="poison", radius=0.1, steps=8)
    view, budget = in_double(Game(model="nn", epsilon=1.0), attack)
    rows = view.train.rows(torch.arange(20).repeat(3))
    view = replace(view, train=rows)
    made = [
        replace(attack, batch_size=size).craft(view, budget, Stage(child_generator(0, "attack")))
        for size in (0, 20, 99)
    ]
    torch.testing.assert_close(made[1].x, made[0].x, rtol=0, atol=1e-12)
    torch.testing.assert_close(made[1].x[:20], made[1].x[40:], rtol=0, atol=1e-12)
    assert torch.equal(made[2].x, made[0].x)
    other = replace(attack, batch_size=7).craft(view, budget, Stage(child_generator(0, "attack")))
    assert float((other.x - made[0].x).abs().max()) > 0.01


def test_the_whole_set_is_brought_against_the_adversarys_gradient() -> None:
    """All of D_tr, within a radius: S falls by a fifth at least; the sources are all rows, in order."""
    game = Game(model="nn", epsilon=1.0, radius=0.2)
    found = [
        craft(GradientMatching(mode=Mode.PERTURBATION, matched="poison", batch_size=size, steps=steps, rate=rate), game)
        for size in (0, 25)
        for steps, rate in ((1, 1e-9), (40, 0.02))
    ]
    for before, after in (found[:2], found[2:]):
        assert float(after.stats["dissimilarity"]) < 0.8 * float(before.stats["dissimilarity"])
        assert torch.equal(after.source, torch.arange(60))


def test_threat_model() -> None:
    for mode in Mode:
        threat = GradientMatching(mode=mode, radius=0.1).threat
        assert (threat.mode, threat.radius, threat.clean_label) == (mode, 0.1, True)


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
        ({"batch_size": -1}, r"attack\.batch_size: expected an integer ≥ 0, got -1"),
        ({"radius": 2.0}, r"attack\.radius: expected a number in \(0, 1\] or null, got 2\.0"),
    ],
)
def test_fields_out_of_range_are_refused(fields: dict[str, object], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        GradientMatching(**fields)
