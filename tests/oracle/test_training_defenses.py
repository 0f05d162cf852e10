"""Defenses that train otherwise, each against what its step is, written plainly."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from poisonbench.defenses.adversarial_training import AdversarialTraining
from poisonbench.defenses.base import TrainingDefense
from poisonbench.defenses.dp_sgd import DPSGD
from poisonbench.defenses.early_stopping import EarlyStopping
from poisonbench.defenses.epic import EPIc
from poisonbench.defenses.friendly_noise import FriendlyNoise
from poisonbench.defenses.mixing import CutMix, Mixup
from poisonbench.defenses.squeezing import Squeezing
from poisonbench.errors import ConfigError, StageTimeoutError
from poisonbench.models.base import Model
from poisonbench.plugins.registry import load
from poisonbench.problem.procedure import Batch, Procedure, State
from poisonbench.problem.samples import Samples, Weights
from poisonbench.seeding import child_generator
from poisonbench.stages.stage import Deadline, Silent, Stage
from poisonbench.testing.game import Game


def procedure(defense: TrainingDefense, game: Game) -> Procedure:
    return defense.procedure(game.defender(), game.fit, Stage(child_generator(0, "defense")))


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch_of(game: Game, n: int = 12) -> Batch:
    rows = game.samples("train", n)
    return Batch(torch.arange(n), rows.x, rows.y)


def leaves(model: Model, double: bool = False) -> Weights:
    weights = model.init(drawn())
    return {name: (3 * value.double() if double else 3 * value).requires_grad_() for name, value in weights.items()}


# Gradient shaping


@pytest.mark.parametrize("name", ["lr", "svm", "nn", "cnn"])
@pytest.mark.parametrize("clip", [0.05, 0.7, 1000.0])
def test_a_shaped_step_is_the_mean_of_clipped_gradients(name: str, clip: float) -> None:
    """Row by row, in float64."""
    game = Game(model=name)
    model, batch = game.target(), batch_of(game)
    batch = replace(batch, x=batch.x.double())
    weights = leaves(model, double=True)
    shaped = procedure(DPSGD(clip=clip, noise=0.0), game)
    _, found = shaped.gradient(model, weights, batch, {}, drawn())
    rows, norms = [], []
    for row in range(12):
        loss = model.losses(model.forward(weights, model.normalise(batch.x[row : row + 1])), batch.y[row : row + 1])
        parts = torch.autograd.grad(loss.sum(), list(model.parameters(weights).values()))
        norms.append(float(torch.cat([part.flatten() for part in parts]).norm()))
        rows.append([part * min(1.0, clip / max(norms[-1], 1e-300)) for part in parts])
    assert (clip == 0.05) <= (max(norms) > 0.05)  # something is clipped
    for index, part in enumerate(found):
        assert torch.allclose(part, torch.stack([row[index] for row in rows]).mean(0), atol=1e-9)


def test_its_noise_has_the_size_that_it_says() -> None:
    """σ C / b, over 10 · 17 · 100 draws: within 3 %."""
    game = Game()
    model, batch, weights = game.target(), batch_of(game), leaves(game.target())
    steps = [procedure(DPSGD(clip=0.5, noise=s), game) for s in (0.0, 2.0)]
    exact = steps[0].gradient(model, weights, batch, {}, drawn())[1]
    noise = []
    for seed in range(100):
        noisy = steps[1].gradient(model, weights, batch, {}, drawn(seed))[1]
        noise.append(torch.cat([(one - other).flatten() for one, other in zip(noisy, exact, strict=True)]))
    assert float(torch.stack(noise).std()) == pytest.approx(2.0 * 0.5 / 12, rel=0.03)
    assert not torch.equal(noise[0], noise[1])
    assert len(noise[0].unique()) == noise[0].numel()  # each entry has a draw of its own


def test_a_model_that_mixes_rows_is_refused() -> None:
    with pytest.raises(ConfigError, match="dp-sgd needs the gradient of every row; the model 'resnet18' mixes rows"):
        procedure(DPSGD(), Game(model="resnet18", shape=(3, 4, 4), n_train=20))


# Adversarial training


def test_on_two_classes_of_a_linear_model_it_reaches_the_maximum() -> None:
    """There the worst δ is ρ · sign of the difference of both classes' weights, whatever x is; cut off at the box."""
    game = Game(classes=2)
    model, batch = game.target(), batch_of(game)
    weights = {name: value.detach() for name, value in leaves(model).items()}
    made = procedure(AdversarialTraining(radius=0.1, steps=30, step=0.02), game).batch(weights, batch, {}, drawn())
    towards = (weights["linear.weight"][1 - batch.y] - weights["linear.weight"][batch.y]).reshape(batch.x.shape)
    assert torch.allclose(made.x, (batch.x + 0.1 * towards.sign()).clamp(0, 1), atol=1e-6)
    assert torch.equal(made.y, batch.y)


def test_its_steps_are_those_of_projected_gradient_ascent() -> None:
    """On a network in float64, from a uniform draw in what the box leaves of the radius. Steps are nearly as long as
    the radius, so that one which is not projected goes on from elsewhere."""
    game = Game(model="nn", shape=(1, 3, 3))
    model, batch = game.target(), batch_of(game)
    batch = replace(batch, x=batch.x.double())
    weights = {name: value.detach() for name, value in leaves(model, double=True).items()}
    made = procedure(AdversarialTraining(radius=0.1, steps=6, step=0.09), game).batch(weights, batch, {}, drawn())
    low, high = (batch.x - 0.1).clamp(min=0), (batch.x + 0.1).clamp(max=1)
    x = low + torch.rand(batch.x.shape, generator=drawn()).double() * (high - low)
    for _ in range(6):
        leaf = x.clone().requires_grad_()
        loss = torch.nn.functional.cross_entropy(model.forward(weights, model.normalise(leaf)), batch.y)
        x = x + 0.09 * torch.autograd.grad(loss, leaf)[0].sign()
        x = torch.minimum(torch.maximum(x, low), high)
    assert torch.allclose(made.x, x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["nn", "cnn"])
def test_it_stays_within_its_radius_and_raises_losses(name: str) -> None:
    game = Game(model=name)
    model, batch = game.target(), batch_of(game)
    weights = {name: value.detach() for name, value in leaves(model).items()}
    made = procedure(AdversarialTraining(radius=0.1), game).batch(weights, batch, {}, drawn())
    assert float((made.x - batch.x).abs().max()) <= 0.1 + 1e-6
    assert float(made.x.min()) >= 0
    assert float(made.x.max()) <= 1
    before, after = (model.losses(model.predict(weights, x), batch.y) for x in (batch.x, made.x))
    assert float((after - before).mean()) > 0.01


# Early stopping


def test_it_returns_the_epoch_of_least_loss_on_trusted_rows() -> None:
    """Against every epoch's loss, written down on the way, in a run whose best epoch is neither the first nor last."""
    game, seen = Game(n_train=24), list[tuple[float, Weights]]()
    model, trusted = game.target(), game.defender().trusted
    inner = procedure(EarlyStopping(), game)

    class Watched(Procedure):
        def state(self, samples: Samples) -> State:
            return inner.state(samples)

        def epoch(self, number: int, weights: Weights, state: State, generator: torch.Generator) -> torch.Tensor | None:
            if number:
                self._note(weights)
            return inner.epoch(number, weights, state, generator)

        def result(self, weights: Weights, state: State) -> Weights:
            self._note(weights)
            return inner.result(weights, state)

        def _note(self, weights: Weights) -> None:
            loss = float(model.losses(model.predict(weights, trusted.x), trusted.y).mean())
            seen.append((loss, {name: value.detach().clone() for name, value in weights.items()}))

    flipped = game.samples("train", 24)
    rows = Samples(flipped.x, torch.where(flipped.ids % 3 == 0, (flipped.y + 1) % 4, flipped.y), flipped.ids)
    found = game.fit(rows, Watched())
    losses = [loss for loss, _ in seen]
    best = losses.index(min(losses))
    assert len(losses) == game.recipe.epochs
    assert all(torch.equal(found[name], seen[best][1][name]) for name in found)
    state = inner.state(rows)
    for weights in (seen[best][1], seen[best - 1][1]):  # a worse epoch does not take its place
        inner.epoch(1, weights, state, drawn())
    assert torch.equal(state["linear.weight"], seen[best][1]["linear.weight"])


@pytest.mark.parametrize("place", [0, 17, 29])
def test_only_the_loss_on_trusted_rows_counts_and_only_after_an_epoch(place: int) -> None:
    """Weights that no training made: the best on trusted rows, in any place, is neither the best on training rows nor
    the one of fewest errors. Those before the first epoch are better and count for nothing."""
    game, view = Game(), Game().defender()
    model, stop = game.target(), procedure(EarlyStopping(), game)

    def of(seed: int) -> Weights:
        return {name: 2 * value for name, value in model.init(drawn(62 + seed)).items()}

    def measured(rows: Samples, weights: Weights) -> tuple[float, float]:
        scores = model.predict(weights, rows.x)
        return float(model.losses(scores, rows.y).mean()), float((scores.argmax(1) != rows.y).float().mean())

    start, best, *others = sorted(map(of, range(31)), key=lambda weights: measured(view.trusted, weights)[0])
    assert min(measured(view.train, weights)[0] for weights in others) < measured(view.train, best)[0]
    assert min(measured(view.trusted, weights)[1] for weights in others) < measured(view.trusted, best)[1]
    epochs = [*others[:place], best, *others[place:]]
    state = stop.state(view.train)
    for number, weights in enumerate([start, *epochs[:-1]]):
        stop.epoch(number, weights, state, drawn())
    found = stop.result(epochs[-1], state)
    assert all(torch.equal(found[name], best[name]) for name in found)


def test_without_trusted_rows_no_epoch_is_best() -> None:
    game = Game()
    view = game.defender()
    with pytest.raises(ConfigError, match="early-stopping needs trusted rows, and there are none"):
        EarlyStopping().procedure(replace(view, trusted=view.trusted.none()), game.fit, Stage(drawn()))


# Mixtures


@given(alpha=st.sampled_from([0.2, 1.0, 4.0]), seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_mixup_mixes_images_and_labels_in_the_same_parts(alpha: float, seed: int) -> None:
    game = Game()
    batch = batch_of(game)
    made = procedure(Mixup(alpha=alpha), game).batch({}, batch, {}, drawn(seed))
    assert torch.allclose(made.y.sum(1), torch.ones(12))
    parts = torch.tensor([float(made.y[i, batch.y[i]]) for i in range(12)])
    part = float(parts.min())  # rows that met another class
    found = [
        any(
            torch.allclose(made.x[i], part * batch.x[i] + (1 - part) * batch.x[j], atol=1e-5)
            and torch.allclose(
                made.y[i, batch.y[j]], torch.tensor(1.0 if batch.y[i] == batch.y[j] else 1 - part), atol=1e-6
            )
            for j in range(12)
        )
        for i in range(12)
    ]
    assert all(found)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_cutmix_mixes_labels_by_area(seed: int) -> None:
    game = Game(shape=(3, 8, 8))
    batch = batch_of(game)
    made = procedure(CutMix(), game).batch({}, batch, {}, drawn(seed))
    kept = (made.x == batch.x).all(1).flatten(1).float().mean(1)
    own = torch.tensor([float(made.y[i, batch.y[i]]) for i in range(12)])
    assert torch.allclose(made.y.sum(1), torch.ones(12))
    other = own < 0.999
    assert torch.allclose(own[other], kept[other], atol=1e-5)
    assert bool((kept >= own.min() - 1e-5).all())


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_parts_are_drawn_anew_from_their_distribution(alpha: float) -> None:
    """λ (1 − λ) of Beta(α, α) has the mean α / (4 α + 2): 0.07, 0.17 and 0.22. Over 300 draws its standard error is
    below 0.005."""
    game = Game(classes=2)
    batch, mix = batch_of(game), procedure(Mixup(alpha=alpha), game)
    parts = torch.tensor([float(mix.batch({}, batch, {}, drawn(seed)).y.max(1).values.min()) for seed in range(300)])
    assert float((parts * (1 - parts)).mean()) == pytest.approx(alpha / (4 * alpha + 2), abs=0.02)


@pytest.mark.parametrize(("part", "sides"), [(0.75, (4, 6)), (0.19, (7, 10)), (1.0, (0, 0)), (0.0, (8, 12))])
def test_the_box_of_cutmix_has_its_share_of_each_side_and_its_centre_anywhere(
    part: float, sides: tuple[int, int]
) -> None:
    """The paper's: √(1 − λ) of both sides, cut off at the border. Of 200 draws none of 12 centres is missed but once in
    3 million."""
    x, generator, seen = torch.zeros(2, 3, 8, 12), drawn(), list[set[tuple[int, ...]]]([set(), set()])
    for _ in range(200):
        cut, kept = CutMix().mixed(x, torch.ones_like(x), part, generator)
        assert kept == pytest.approx(1 - float(cut.mean()), abs=1e-6)
        for axis, found in enumerate(seen):
            inside = torch.nonzero(cut[0, 0].amax(1 - axis)).flatten().tolist()
            assert inside == list(range(inside[0], inside[-1] + 1)) if inside else not any(sides)
            found.add(tuple(inside))
    for size, side, found in zip((8, 12), sides, seen, strict=True):
        starts = [centre - side // 2 for centre in range(size)]
        assert found == {tuple(range(max(0, start), min(size, start + side))) for start in starts}


# Squeezing


def test_each_squeeze_is_what_it_says() -> None:
    x = torch.rand(6, 3, 16, 16, generator=drawn())
    levels = Squeezing(squeeze="depth").squeezed(x).unique()
    assert [round(255 * float(level)) for level in levels] == [0, 64, 128, 192]
    gray = Squeezing(squeeze="gray").squeezed(x)
    luminance = (x * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1)
    assert torch.equal(gray[:, 0], gray[:, 1])
    assert torch.allclose(gray[:, 0], luminance, atol=2 / 255)
    smooth = torch.linspace(0, 1, 16).expand(6, 3, 16, 16)
    near, far = (Squeezing(quality=quality).squeezed(smooth) for quality in (95, 5))
    assert float((near - smooth).abs().max()) < 0.03 < float((far - smooth).abs().max())
    noise = smooth + 0.03 * torch.randn(smooth.shape, generator=drawn(1)).sign()
    cleaned = Squeezing().squeezed(noise.clamp(0, 1)) - Squeezing().squeezed(smooth)
    assert float(cleaned.abs().mean()) < 0.5 * 0.03  # what it is for: a small perturbation does not get through
    one = Squeezing().squeezed(x[:, :1])
    assert one.shape == (6, 1, 16, 16)


def test_pixels_are_rounded_to_the_nearest_of_256_levels() -> None:
    levels = torch.arange(256.0).reshape(1, 1, 16, 16)
    for off in (-0.49, 0.49):
        squeezed = Squeezing(squeeze="depth", bits=8).squeezed(((levels + off) / 255).clamp(0, 1))
        assert torch.equal((255 * squeezed).round(), levels)


@pytest.mark.parametrize("quality", [10, 40])
@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_has_the_quality_that_is_said(channels: int, quality: int) -> None:
    """The file that Pillow writes of the same array."""
    pixels = np.random.default_rng(0).integers(256, size=(16, 16, channels), dtype=np.uint8)
    with BytesIO() as file:
        Image.fromarray(pixels.squeeze()).save(file, "JPEG", quality=quality)
        expected = np.array(Image.open(file)).reshape(pixels.shape)
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    found = Squeezing(quality=quality).squeezed(x)[0].permute(1, 2, 0)
    assert np.array_equal((255 * found).round().numpy(), expected)
    assert Squeezing() == Squeezing(squeeze="jpeg", quality=10, bits=2)


def test_only_what_is_trained_on_is_squeezed_unless_it_is_said() -> None:
    x = torch.rand(3, 1, 8, 8, generator=drawn())
    assert torch.equal(Squeezing().transform(x), x)
    assert torch.equal(Squeezing(tested=True).transform(x), Squeezing().squeezed(x))
    for game in (Game(shape=(1, 8, 8)), Game(shape=(1, 8, 8), augmentation="flips-and-crops")):
        view = game.defender()
        rows = torch.tensor([4, 0, 9])
        step = procedure(Squeezing(), game).batch({}, Batch(rows, view.train.x[rows], view.train.y[rows]), {}, drawn())
        assert torch.equal(step.x, Squeezing().squeezed(view.train.x)[rows])
    with pytest.raises(ConfigError, match=r"defense\.squeeze=gray is for images of three channels"):
        procedure(Squeezing(squeeze="gray"), Game())


@pytest.mark.parametrize(
    ("name", "fields", "field"),
    [
        ("dp-sgd", {"clip": 0.0}, "clip"),
        ("dp-sgd", {"noise": float("nan")}, "noise"),
        ("adversarial-training", {"radius": 2.0}, "radius"),
        ("adversarial-training", {"steps": 0}, "steps"),
        ("adversarial-training", {"step": 0.0}, "step"),
        ("mixup", {"alpha": 0.0}, "alpha"),
        ("squeezing", {"quality": 101}, "quality"),
        ("squeezing", {"bits": 0}, "bits"),
    ],
)
def test_wrong_fields_are_refused(name: str, fields: dict[str, float], field: str) -> None:
    with pytest.raises(ConfigError, match=rf"defense\.{field}: expected"):
        load("defense", name)(**fields)


@pytest.mark.parametrize("defense", [FriendlyNoise(warmup=1), EPIc(warmup=0.0)])
def test_what_takes_long_within_an_epoch_is_seen_and_ends_at_the_deadline(defense: TrainingDefense) -> None:
    game, begun = Game(), list[str]()

    class Watching(Silent):
        def begin(self, task: str, total: int | None, done: int) -> None:
            begun.append(task)

    stage = Stage(child_generator(0, "defense"), progress=Watching(), deadline=Deadline(0.0))
    with pytest.raises(StageTimeoutError, match="passed its deadline after step 1"):
        game.fit(game.defender().train, defense.procedure(game.defender(), game.fit, stage))
    assert begun in (["friendly noise"], ["medoids"])
