"""MaxUp against brute force, plain training, finite differences and its first-order expansion.

Losses that are compared come from passes over other batches, in float32: they agree to some ten roundings of numbers of
order 1 to 10, so 1e-5. Where bits are compared, the same images went through the same code.
"""

import math
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm
from torch import Tensor

from poisonbench.bilevel.hvp import flatten, unflatten
from poisonbench.defenses.maxup.augmentations import GROUP, Augmentation, augmented
from poisonbench.defenses.maxup.defense import MaxUp
from poisonbench.errors import ConfigError
from poisonbench.identity.tensors import tensor_hash
from poisonbench.models.base import Model
from poisonbench.plugins.registry import load
from poisonbench.problem.procedure import Batch, Procedure, State
from poisonbench.problem.recipe import Recipe
from poisonbench.problem.samples import Samples, Weights
from poisonbench.problem.views import DefenderView
from poisonbench.seeding import child_generator
from poisonbench.stages import stage as stage_module
from poisonbench.stages.checkpoint import Checkpoint
from poisonbench.stages.stage import Silent, Stage
from poisonbench.testing import Game
from poisonbench.training import train

AUGMENTATIONS: tuple[Augmentation, ...] = ("noise", "crop", "crop-flip", "cutout", "affine")
every_augmentation = pytest.mark.parametrize("augmentation", AUGMENTATIONS)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int, shape: tuple[int, int, int] = (1, 8, 8), seed: int = 0) -> Tensor:
    return torch.rand((n, *shape), generator=generator(seed))


def defender(model: Model) -> DefenderView:
    """A view whose data nobody asks for."""
    nothing = Samples(torch.empty(0, *model.shape), torch.empty(0, dtype=torch.int64), torch.empty(0))
    return DefenderView(nothing, nothing, model, Recipe(), model.classes)


def target(name: str, shape: tuple[int, int, int] = (1, 8, 8), classes: int = 4) -> Model:
    model: Model = load("model", name)(shape, classes, (0.5,) * shape[0], (0.25,) * shape[0])
    return model


def same(first: Weights, second: Weights) -> bool:
    return tensor_hash(*(first[name] for name in sorted(first))) == tensor_hash(
        *(second[name] for name in sorted(second))
    )


def fit(game: Game, procedure: Procedure | None) -> Weights:
    return game.fit(game.samples("train", game.n_train), procedure)


def procedure(maxup: MaxUp, view: DefenderView) -> Procedure:
    def never(samples: Samples, procedure: Procedure | None = None) -> Weights:
        raise AssertionError("it trains a model to train one")

    return maxup.procedure(view, never, Stage(generator()))


def chosen_by(maxup: MaxUp, model: Model, weights: Weights, x: Tensor, y: Tensor, drawn: torch.Generator) -> Tensor:
    """The images that a step is taken on."""
    batch = Batch(torch.arange(len(y)), x, y)
    return procedure(maxup, defender(model)).batch(weights, batch, {}, drawn).x


# What is trained on


@pytest.mark.parametrize(
    "game",
    [
        Game(),
        Game(model="svm"),
        Game(model="nn"),
        Game(model="cnn"),
        Game(model="resnet18", shape=(3, 4, 4), n_train=10),
    ],
    ids=lambda game: game.model,
)
def test_one_copy_is_plain_training_to_the_bit(game: Game) -> None:
    maxup = procedure(MaxUp(m=1), game.defender())
    assert same(fit(game, maxup), fit(game, None))
    if game.model == "lr":  # and more copies are not, unless they all are the image
        assert not same(fit(game, procedure(MaxUp(m=2), game.defender())), fit(game, None))
        assert same(fit(game, procedure(MaxUp(m=3, sigma=0.0), game.defender())), fit(game, None))


@pytest.mark.parametrize("clean", [True, False])
def test_one_copy_takes_no_pass(clean: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    game, drawn = Game(), generator()

    def refuse(*_: object) -> Tensor:
        raise AssertionError("a forward pass")

    monkeypatch.setattr(Model, "predict", refuse)
    x = images(20, game.shape)
    chosen = chosen_by(MaxUp(m=1, clean=clean), game.target(), {}, x, torch.zeros(20, dtype=torch.int64), drawn)
    if clean:
        assert chosen is x
        assert torch.equal(drawn.get_state(), generator().get_state())
    else:
        assert torch.equal(chosen, augmented(x, "noise", 0.1, generator()))


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(["lr", "svm", "nn", "cnn"]),
    augmentation=st.sampled_from(AUGMENTATIONS),
    m=st.integers(1, 6),
    n=st.integers(1, 25),
    channels=st.sampled_from([1, 3]),
    clean=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_each_row_is_its_copy_of_largest_loss(
    name: str, augmentation: Augmentation, m: int, n: int, channels: int, clean: bool, seed: int
) -> None:
    shape = (channels, 8, 8)
    model, x = target(name, shape), images(n, shape, seed)
    weights = {key: 3 * value for key, value in model.init(generator(seed)).items()}
    y = torch.randint(4, (n,), generator=generator(seed))
    drawn = generator(seed + 1)
    copies = [x] if clean else []
    copies += [augmented(x, augmentation, 0.2, drawn) for _ in range(m - len(copies))]
    maxup = MaxUp(m=m, augmentation=augmentation, sigma=0.2, clean=clean)
    chosen = chosen_by(maxup, model, weights, x, y, generator(seed + 1))
    assert chosen.shape == x.shape
    exact = {key: value.double() for key, value in weights.items()}
    for i in range(n):
        found = [copy[i] for copy in copies if torch.equal(copy[i], chosen[i])]
        assert found, "none of the copies of this row"
        rows = torch.stack([chosen[i], *(copy[i] for copy in copies)]).double()
        losses = model.losses(model.forward(exact, model.normalise(rows)), y[i].expand(len(rows)))
        assert float(losses[0]) >= float(losses.max()) - 1e-5


@every_augmentation
@pytest.mark.parametrize("clean", [True, False])
def test_the_objective_never_falls_as_m_grows(augmentation: Augmentation, clean: bool) -> None:
    model, x = target("nn"), images(30)
    weights, y = model.init(generator()), torch.arange(30) % 4
    losses = []
    for m in (1, 2, 3, 5, 9):
        maxup = MaxUp(m=m, augmentation=augmentation, clean=clean)
        losses.append(model.losses(model.predict(weights, chosen_by(maxup, model, weights, x, y, generator(4))), y))
    for smaller, larger in pairwise(losses):
        assert bool((larger >= smaller - 1e-5).all())
    assert bool((losses[-1] > losses[0] + 1e-5).any())
    if clean:
        assert torch.equal(losses[0], model.losses(model.predict(weights, x), y))


def test_of_equal_losses_the_image_itself_wins() -> None:
    model, x = target("lr"), images(12)
    blind = {name: torch.zeros_like(value) for name, value in model.init(generator()).items()}
    maxup = MaxUp(m=5)
    assert torch.equal(chosen_by(maxup, model, blind, x, torch.arange(12) % 4, generator()), x)


# The gradient and the first order


@pytest.mark.parametrize("name", ["lr", "nn", "cnn"])
@pytest.mark.parametrize("augmentation", ["noise", "crop"])
def test_the_step_follows_the_gradient_of_the_maximum(name: str, augmentation: Augmentation) -> None:
    """Central differences in float64 of w ↦ mean_i max_k ℓ, the draws held fixed. With ε = 1e-6 their error is about
    1e-16 / ε = 1e-10, and no row changes its maximiser on the way but by chance."""
    model, x, y = target(name), images(15).double(), torch.arange(15) % 4
    weights = {key: 2 * value.double() for key, value in model.init(generator()).items()}
    maxup = MaxUp(m=4, augmentation=augmentation)

    def objective(at: Weights) -> float:
        chosen = chosen_by(maxup, model, at, x, y, generator(7))
        return float(model.losses(model.forward(at, model.normalise(chosen)), y).mean())

    leaves = {key: value.clone().requires_grad_() for key, value in weights.items()}
    chosen = chosen_by(maxup, model, leaves, x, y, generator(7))
    assert not chosen.requires_grad
    gradient = flatten(model.gradient(leaves, model.normalise(chosen), y)[1])
    plain = flatten(model.gradient(leaves, model.normalise(x), y)[1])
    parameters = model.parameters(weights)
    for seed in range(4):
        direction = torch.randn(len(gradient), generator=generator(seed), dtype=torch.float64)
        parts = dict(zip(parameters, unflatten(direction, list(parameters.values())), strict=True))
        ends = [objective({key: weights[key] + step * parts[key] for key in weights}) for step in (1e-6, -1e-6)]
        slope = (ends[0] - ends[1]) / 2e-6
        assert slope == pytest.approx(float(direction @ gradient), abs=1e-7, rel=1e-6)
        assert abs(slope - float(direction @ plain)) > 1e-4  # the gradient at the images themselves is another


@pytest.mark.parametrize(("m", "clean"), [(2, True), (4, True), (1, False), (2, False), (4, False)])
def test_with_noise_it_penalises_the_norm_of_the_gradient(m: int, clean: bool) -> None:
    """E max_k ℓ(x + σ ξ_k) = ℓ + c σ ‖∇_x ℓ‖ + O(σ²), c the mean of the largest of m normals, or of m − 1 and 0.

    Grey images, so that nothing is clipped. σ = 1e-3 leaves a second order of about 1e-3, relative; the mean of 20,000
    rows has a standard error of at most c⁻¹ · 20,000^−½ < 0.02, relative to c ≥ 0.4. Where c is 0, so is the mean."""
    n, sigma, model = 20_000, 1e-3, target("lr", (1, 3, 3), classes=3)
    weights = {name: value.double() for name, value in model.init(generator()).items()}
    x, y = torch.full((n, 1, 3, 3), 0.5, dtype=torch.float64).requires_grad_(), torch.arange(n) % 3
    losses = model.losses(model.forward(weights, model.normalise(x)), y)
    slope = torch.autograd.grad(losses.sum(), x)[0].flatten(1).norm(dim=1)
    chosen = chosen_by(MaxUp(m=m, sigma=sigma, clean=clean), model, weights, x.detach(), y, generator())
    excess = (model.losses(model.predict(weights, chosen), y) - losses.detach()) / (sigma * slope)
    k = m - 1 if clean else m
    expected = quad(lambda t: 1 - norm.cdf(t) ** k, 0, 10)[0]
    if not clean:
        expected -= quad(lambda t: norm.cdf(t) ** k, -10, 0)[0]
    assert float(excess.mean()) == pytest.approx(expected, abs=0.03)
    if (m, clean) == (4, True):
        assert round(expected, 2) == 0.89  # as the docstring says


# The copies


@settings(max_examples=60, deadline=None)
@given(
    augmentation=st.sampled_from(AUGMENTATIONS),
    n=st.integers(1, 45),
    channels=st.sampled_from([1, 3]),
    height=st.integers(4, 20),
    width=st.integers(4, 20),
    sigma=st.floats(0.0, 5.0),
    extreme=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_copies_are_images_in_the_box_and_nothing_else_moves(
    augmentation: Augmentation, n: int, channels: int, height: int, width: int, sigma: float, extreme: bool, seed: int
) -> None:
    x = images(n, (channels, height, width), seed)
    x = x.round() if extreme else x
    before, state = x.clone(), torch.get_rng_state()
    copies = augmented(x, augmentation, sigma, generator(seed))
    assert copies.shape == x.shape
    assert copies.dtype == x.dtype
    assert 0 <= float(copies.min()) <= float(copies.max()) <= 1
    assert torch.equal(x, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(copies, augmented(x, augmentation, sigma, generator(seed)))


def test_copies_stay_in_the_box_whatever_interpolation_rounds_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.transforms.v2.RandomAffine.forward", lambda self, x: 1.5 * x - 0.25)
    x = images(25)
    assert torch.equal(augmented(x, "affine", 0.0, generator()), (1.5 * x - 0.25).clamp(0, 1))


@every_augmentation
def test_draws_differ_between_rows_copies_and_generators(augmentation: Augmentation) -> None:
    n, drawn = 40 * GROUP, generator()
    x = images(1, (1, 16, 16)).expand(n, 1, 16, 16)
    first, second = (augmented(x, augmentation, 0.1, drawn) for _ in range(2))
    assert not torch.equal(first, second)
    assert not torch.equal(first, augmented(x, augmentation, 0.1, generator(1)))
    geometries = len(first.unique(dim=0))
    if augmentation == "noise":
        assert geometries == n
    else:  # crop has 25 of them, the others more than there are draws
        assert 15 <= geometries <= 40
        assert all(len(part.unique(dim=0)) == 1 for part in first.split(GROUP))


def test_a_kill_amid_a_draw_leaves_the_global_generator_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    def draw_and_die(self: object, *_: object) -> Tensor:
        torch.rand(5)
        raise KeyboardInterrupt

    monkeypatch.setattr("torchvision.transforms.v2.GaussianNoise.forward", draw_and_die)
    state = torch.get_rng_state()
    with pytest.raises(KeyboardInterrupt):
        augmented(images(3), "noise", 0.1, generator())
    assert torch.equal(torch.get_rng_state(), state)


def test_noise_is_gaussian_with_that_sigma() -> None:
    grey = torch.full((400, 1, 16, 16), 0.5, dtype=torch.float64)
    noise = (augmented(grey, "noise", 0.05, generator()) - 0.5).flatten() / 0.05  # 102,400 pixels; the box is 10 σ away
    moments = [float(noise.pow(k).mean()) for k in (1, 2, 3, 4)]
    # Standard errors √(1, 2, 15, 96) / 320: 0.003 to 0.031.
    assert moments == pytest.approx([0, 1, 0, 3], abs=0.12)


def shifts(image: Tensor, most: int) -> list[Tensor]:
    """All moves by up to `most` pixels, zeros moving in."""
    (_, height, width), padded = image.shape, F.pad(image, (most,) * 4)
    starts = range(2 * most + 1)
    return [padded[:, i : i + height, j : j + width] for i in starts for j in starts]


@pytest.mark.parametrize(("shape", "most"), [((1, 8, 8), 1), ((3, 32, 32), 4), ((1, 28, 28), 3), ((1, 16, 24), 2)])
def test_crops_are_moves_by_up_to_an_eighth(shape: tuple[int, int, int], most: int) -> None:
    image = images(1, shape)[0]
    x = image.expand(60 * GROUP, *shape)
    moved = shifts(image, most)
    mirrored = [move.flip(2) for move in moved]
    seen = [
        [k for k, move in enumerate(moved) if torch.equal(row, move)]
        for row in augmented(x, "crop", 0.0, generator())[::GROUP]
    ]
    assert all(len(found) == 1 for found in seen)
    for steps in ({k // (2 * most + 1) for (k,) in seen}, {k % (2 * most + 1) for (k,) in seen}):
        assert {0, 2 * most} <= steps  # both ways, as far as it goes
    flips = 0
    for row in augmented(x, "crop-flip", 0.0, generator())[::GROUP]:
        kept, turned = (any(torch.equal(row, move) for move in those) for those in (moved, mirrored))
        assert kept != turned
        flips += turned
    assert 15 <= flips <= 45  # 30 ± 3.9


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (1, 28, 28)])
def test_cutout_erases_one_square_of_half_the_side(shape: tuple[int, int, int]) -> None:
    x = images(30 * GROUP, shape) + 0.01
    x = x.clamp(max=1)
    copies = augmented(x, "cutout", 0.0, generator())
    half, corners = shape[1] // 2, set()
    for copy, image in zip(copies, x, strict=True):
        erased = (copy == 0).all(0)
        assert torch.equal(copy, torch.where(erased, 0.0, image))
        rows, columns = torch.nonzero(erased.any(1)).flatten(), torch.nonzero(erased.any(0)).flatten()
        assert int(erased.sum()) == half**2 == len(rows) * len(columns)
        assert int(rows[-1] - rows[0]) == half - 1 == int(columns[-1] - columns[0])
        corners.add((int(rows[0]), int(columns[0])))
    assert len(corners) > 10


def test_affine_maps_turn_move_and_scale_a_little() -> None:
    """A blob off the centre: its mass goes with the area, its position with the map."""
    side, n = 32, 200 * GROUP
    at = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    blob = torch.exp(-((at[:, None] - 6) ** 2 + at[None] ** 2) / 8)
    copies = augmented(blob.expand(n, 1, side, side), "affine", 0.0, generator())[::GROUP, 0]
    mass = copies.sum((1, 2))
    down, right = (copies * at[:, None]).sum((1, 2)) / mass, (copies * at).sum((1, 2)) / mass
    area = mass / blob.sum()
    # Bilinear interpolation on pixels adds some percent.
    assert bool(((area > 0.9**2 - 0.03) & (area < 1.1**2 + 0.03)).all())
    assert float(area.max() - area.min()) > 0.3
    # 6 px down; scaled by 0.9 to 1.1, turned by 10° (sin 10° = 0.17), moved by up to 0.1 · 32, rounded to pixels.
    assert bool(((down > 0.9 * 6 * math.cos(math.radians(10)) - 3.2) & (down < 1.1 * 6 + 3.2)).all())
    assert bool((right.abs() < 1.1 * 6 * math.sin(math.radians(10)) + 3.2).all())
    assert min(float(down.std()), float(right.std())) > 1


# Inside the training loop


class Watched(Procedure):
    """A procedure, and what it was handed."""

    def __init__(self, inner: Procedure) -> None:
        self.inner = inner
        self.batches: list[str] = []
        self.seeds: list[int] = []
        self.start: Weights = {}

    def batch(self, weights: Weights, batch: Batch, state: State, drawn: torch.Generator) -> Batch:
        self.start = self.start or {name: value.detach().clone() for name, value in weights.items()}
        self.batches.append(tensor_hash(batch.rows, batch.x, batch.y))
        self.seeds.append(drawn.initial_seed())
        return self.inner.batch(weights, batch, state, drawn)


def test_training_is_paired_with_plain_training() -> None:
    """Initial weights and the order of rows are those of the undefended model: only the images differ."""
    game = Game()
    plain = Watched(Procedure())
    maxup = Watched(procedure(MaxUp(m=3), game.defender()))
    ends = [fit(game, watched) for watched in (plain, maxup)]
    assert plain.batches == maxup.batches
    assert same(plain.start, maxup.start)
    assert same(ends[0], fit(game, None))
    assert not same(*ends)
    assert len(set(maxup.seeds)) == len(maxup.seeds) == 12  # every step draws anew


@pytest.mark.parametrize("fields", [MaxUp(m=3), MaxUp(m=2, augmentation="affine", clean=False)], ids=str)
def test_killed_and_resumed_it_ends_in_the_same_bits(
    fields: MaxUp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage_module, "SAVE_EVERY_S", -1.0)
    game, recipe = Game(), Recipe(batch_size=16, epochs=4, momentum=0.9)

    class Kill(Silent):
        def advance(self, task: str, done: int, measures: dict[str, float]) -> None:
            if done == 3:
                raise KeyboardInterrupt

    def run(checkpoint: Checkpoint, progress: Silent) -> Weights:
        stage = Stage(child_generator(0, "t"), checkpoint=checkpoint, progress=progress)
        samples = game.samples("train", 60)
        return train(game.target(), samples, recipe, stage, "train", procedure(fields, game.defender()))

    whole = run(Checkpoint(None), Silent())
    with pytest.raises(KeyboardInterrupt):
        run(Checkpoint(tmp_path), Kill())
    assert same(run(Checkpoint(tmp_path), Silent()), whole)


def test_choosing_copies_moves_no_batch_statistics() -> None:
    model = target("resnet18", (3, 8, 8))
    weights = model.init(generator())
    before = tensor_hash(*weights.values())
    x, y = images(6, (3, 8, 8)), torch.arange(6) % 4
    chosen = chosen_by(MaxUp(m=3, sigma=0.5), model, weights, x, y, generator())
    assert tensor_hash(*weights.values()) == before
    # Evaluation mode looks at one row at a time: a row's choice does not depend on the others.
    alone = {name: value.clone() for name, value in weights.items()}
    drawn = generator()
    copies = torch.stack([x, *(augmented(x, "noise", 0.5, drawn) for _ in range(2))])
    for i in range(6):
        losses = model.losses(model.forward(alone, model.normalise(copies[:, i])), y[i].expand(3))
        assert torch.equal(chosen[i], copies[int(losses.argmax()), i])


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("m", 0, "an integer ≥ 1, got 0"),
        ("m", -3, "an integer ≥ 1, got -3"),
        ("sigma", -0.1, "a number ≥ 0, got -0.1"),
        ("sigma", math.nan, "a number ≥ 0, got nan"),
        ("sigma", math.inf, "a number ≥ 0, got inf"),
    ],
)
def test_fields_are_checked(field: str, value: float, expected: str) -> None:
    with pytest.raises(ConfigError, match=rf"defense\.{field}: expected {expected}\."):
        MaxUp(**{**asdict(MaxUp()), field: value})


@pytest.mark.gpu
@every_augmentation
def test_a_gpu_gets_the_same_copies_and_keeps_its_generator(augmentation: Augmentation) -> None:
    x, state = images(30), torch.cuda.get_rng_state()
    copies = augmented(x.cuda(), augmentation, 0.1, generator())
    assert copies.device.type == "cuda"
    assert torch.equal(copies.cpu(), augmented(x, augmentation, 0.1, generator()))
    assert torch.equal(torch.cuda.get_rng_state(), state)
