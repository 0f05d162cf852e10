"""Friendly noise against its optimum where that is known, and against the steps that make it, written plainly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from poisonbench.augmentation import flipped_and_cropped
from poisonbench.defenses.friendly_noise import FriendlyNoise
from poisonbench.errors import ConfigError
from poisonbench.models.base import Model
from poisonbench.plugins.registry import load
from poisonbench.problem.procedure import Batch, Procedure, State
from poisonbench.problem.samples import Weights
from poisonbench.seeding import child_generator
from poisonbench.stages.checkpoint import Checkpoint
from poisonbench.stages.stage import Stage
from poisonbench.testing.game import Game
from poisonbench.testing.interruption import Killed, StepCounter, save_every_step
from poisonbench.training import train


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def procedure(defense: FriendlyNoise, game: Game) -> Procedure:
    return defense.procedure(game.defender(), game.fit, Stage(child_generator(0, "defense")))


def sharp(model: Model) -> Weights:
    return {name: 3 * value.double() for name, value in model.init(drawn()).items()}


def objectives(defense: FriendlyNoise, model: Model, weights: Weights, x: Tensor, epsilon: Tensor) -> Tensor:
    return defense.objective(model, weights, x, epsilon, model.predict(weights, x))


@pytest.mark.parametrize("distance", ["kl", "reverse-kl", "mse"])
def test_it_is_largest_where_the_model_does_not_look_and_none_where_it_does(distance: Any) -> None:
    """Two classes, told apart by one pixel: the optimum has 0 there, since its distance, at least 0.2 ε², costs more
    than λ ε² / 16 gains, and every other pixel at the bound that lies further from 0."""
    game = Game(classes=2)
    model = game.target()
    weights = {name: torch.zeros_like(value).double() for name, value in model.init(drawn()).items()}
    weights["linear.weight"][:, 5] = torch.tensor([-1.0, 1.0])
    x = 0.2 + 0.6 * torch.rand(20, 1, 4, 4, generator=drawn(1), dtype=torch.float64)
    x[:, :, 0, 0], x[:, :, 0, 1] = 0.0, 1.0  # one side of their interval is no image
    defense = FriendlyNoise(distance=distance, steps=300, lr=0.1)
    found = defense.friendly(model, weights, x, drawn()).flatten(1)
    seen = torch.arange(16) == 5
    assert float(found[:, seen].abs().max()) < 1e-6
    moved = defense.start(x, drawn()).flatten(1)
    for pixel in (0, 1):  # begun on the wrong side, it stands at 0, where its gradient vanishes
        towards = moved[:, pixel] * (1 if pixel == 0 else -1) > 0
        expected = torch.where(towards, (1 if pixel == 0 else -1) * defense.zeta, 0.0).double()
        assert torch.allclose(found[:, pixel], expected, atol=1e-12)
    assert torch.allclose(found[:, 2:][:, ~seen[2:]].abs(), torch.tensor(defense.zeta).double(), atol=1e-12)
    labels = [model.predict(weights, images).argmax(1) for images in (x, x + found.view_as(x))]
    assert torch.equal(*labels)


@pytest.mark.parametrize("nothing", [{"lam": 0.0}, {"lam": 1e4}])
def test_each_half_of_the_objective_alone(nothing: dict[str, float]) -> None:
    """Without size the model's answer comes back to what it was; with little else all pixels go to their bounds."""
    game = Game(model="nn", n_train=24)
    model, x = game.target(), game.samples("train", 24).x.double() * 0.6 + 0.2
    weights, defense = sharp(model), FriendlyNoise(steps=200, lr=0.05, **nothing)
    found = defense.friendly(model, weights, x, drawn())
    if nothing["lam"]:
        assert torch.allclose(found.abs(), torch.tensor(defense.zeta).double())
    else:
        began = objectives(defense, model, weights, x, defense.start(x, drawn()))
        assert float((objectives(defense, model, weights, x, found) / began).max()) < 0.01


@pytest.mark.parametrize("name", ["lr", "svm", "nn", "cnn", "cifar-cnn"])
@pytest.mark.parametrize("lr", [100 / 128, 50.0])
def test_no_row_ends_above_its_start(name: str, lr: float) -> None:
    """Also where the steps are far too long."""
    game = Game(model=name, shape=(3, 16, 16) if name == "cifar-cnn" else (1, 4, 4))
    model, x = game.target(), game.samples("train", 16).x.double()
    weights, defense = sharp(model), FriendlyNoise(lr=lr, steps=10)
    start = torch.maximum(torch.minimum(defense.start(x, drawn()), 1 - x), -x)
    found = defense.friendly(model, weights, x, drawn())
    before, after = (objectives(defense, model, weights, x, epsilon) for epsilon in (start, found))
    assert bool((after <= before + 1e-15).all())
    assert float((before - after).mean()) > 0 or lr == 50
    assert float(found.abs().max()) <= defense.zeta
    assert 0 <= float((x + found).min()) < float((x + found).max()) <= 1


def test_its_steps_are_those_of_the_code() -> None:
    """SGD with Nesterov's momentum on the mean over a batch of 128, 100 long, where no bound is met."""
    game = Game(model="nn", shape=(3, 4, 4))
    model, x = game.target(), (game.samples("train", 128).x.double() + 1) / 3
    weights = {name: value.double() for name, value in model.init(drawn()).items()}
    defense = FriendlyNoise(zeta=0.3, steps=5, distance="reverse-kl")
    target = model.predict(weights, x).log_softmax(1)
    epsilon = defense.start(x, drawn())
    velocity = torch.zeros_like(x)
    for _ in range(defense.steps):
        epsilon.requires_grad_()
        said = model.forward(weights, model.normalise(x + epsilon)).log_softmax(1)
        kl = torch.nn.functional.kl_div(said, target, reduction="batchmean", log_target=True)
        (slope,) = torch.autograd.grad(kl - epsilon.square().mean(), epsilon)
        velocity = 0.9 * velocity + slope
        epsilon = epsilon.detach() - 100 * (slope + 0.9 * velocity)
    assert float(epsilon.abs().max()) < defense.zeta
    found = defense.friendly(model, weights, x, drawn())
    last = objectives(defense, model, weights, x, epsilon)
    fell = last <= objectives(defense, model, weights, x, found) + 1e-12  # rows whose last noise is their best
    assert int(fell.sum()) > 64
    assert torch.allclose(found[fell], epsilon[fell], atol=1e-9)


def test_it_is_made_once_after_the_warm_up_with_the_model_of_then() -> None:
    """In a whole training, behind a procedure that looks on."""
    game = Game(model="nn", n_train=24)
    defense = FriendlyNoise(warmup=1, steps=3)
    inner = procedure(defense, game)
    rows, seen, models = game.defender().train, list[Tensor](), list[Weights]()

    class Watched(Procedure):
        def state(self, samples: Any) -> State:
            return inner.state(samples)

        def epoch(self, number: int, weights: Weights, state: State, generator: torch.Generator) -> Tensor | None:
            models.append({name: value.detach().clone() for name, value in weights.items()})
            chosen = inner.epoch(number, weights, state, generator)
            seen.append(state["friendly"].clone())
            return chosen

        def batch(self, weights: Weights, batch: Batch, state: State, generator: torch.Generator) -> Batch:
            return inner.batch(weights, batch, state, generator)

    game.fit(rows, Watched())
    assert not seen[0].any()
    assert torch.equal(seen[1], seen[2])
    model, none = game.target(), torch.zeros_like(rows.x)
    before, after = (objectives(defense, model, models[1], rows.x, epsilon) for epsilon in (none, seen[1]))
    assert float((after - before).max()) < 0  # friendlier and larger than no noise
    assert float(seen[1].abs().mean()) > 0.2 * defense.zeta


@pytest.mark.parametrize("kill_at", [1, 2, 3])
def test_killed_in_any_epoch_and_resumed_it_ends_in_the_same_bits(kill_at: int, tmp_path: Path) -> None:
    """Before the noise is made, as it is, and after; what takes over is another process's procedure."""
    game = Game(model="nn", shape=(3, 4, 4), n_train=24, augmentation="flips-and-crops")
    rows, checkpoint = game.defender().train, Checkpoint(tmp_path / "run")

    def fit(progress: StepCounter, at: Checkpoint) -> Weights:
        stage = Stage(child_generator(0, "train"), progress=progress, checkpoint=at)
        friendly = procedure(FriendlyNoise(warmup=1, steps=3), game)
        return train(game.target(), rows, game.recipe, stage, "train", friendly)

    whole = fit(StepCounter(), Checkpoint(None))
    with save_every_step():
        with pytest.raises(Killed):
            fit(StepCounter(kill_at), checkpoint)
        found = fit(StepCounter(), checkpoint)
    assert all(torch.equal(found[name], whole[name]) for name in whole)
    assert not torch.equal(game.fit(rows)["output.weight"], whole["output.weight"])


@pytest.mark.parametrize(
    ("noise", "size", "most"), [("bernoulli", 1.0, 1.0), ("uniform", 3**-0.5, 1.0), ("gaussian", 1.0, 10.0)]
)
def test_a_step_is_taken_under_friendly_and_random_noise(noise: Any, size: float, most: float) -> None:
    """Random noise of mean 0 and of the distribution's own deviation, to 2 % over 60 · 16 · 20 pixels."""
    game = Game()
    view = game.defender()
    rows, state = torch.tensor([4, 0, 9]), {"friendly": 0.01 * torch.rand(view.train.x.shape, generator=drawn())}
    made = procedure(FriendlyNoise(warmup=1, noise=noise), game)
    quiet = procedure(FriendlyNoise(warmup=1, mu=0.0), game)
    batch = Batch(rows, view.train.x[rows], view.train.y[rows])
    still = quiet.batch({}, batch, state, drawn())
    assert torch.equal(still.x, view.train.x[rows] + state["friendly"][rows])
    assert torch.equal(still.y, batch.y)
    parts = [made.batch({}, batch, state, drawn(seed)).x - still.x for seed in range(400)]
    found = torch.stack(parts) * 255 / 8
    assert float(found.mean()) == pytest.approx(0, abs=0.03)
    assert float(found.std()) == pytest.approx(size, rel=0.02)
    assert float(found.abs().max()) < most + 1e-4
    assert not torch.equal(parts[0], parts[1])
    warming_up = {"friendly": torch.zeros_like(view.train.x)}
    early = made.batch({}, batch, warming_up, drawn(0)).x - view.train.x[rows]
    assert torch.allclose(early, parts[0], atol=1e-6)


def test_where_a_recipe_augments_the_noise_moves_with_its_image() -> None:
    game = Game(shape=(3, 8, 8), augmentation="flips-and-crops")
    view = game.defender()
    rows, state = torch.tensor([4, 0, 9]), {"friendly": 0.05 * torch.rand(view.train.x.shape, generator=drawn())}
    batch = Batch(rows, flipped_and_cropped(view.train.x[rows], drawn(7)), view.train.y[rows])
    made = procedure(FriendlyNoise(warmup=1, mu=0.0), game).batch({}, batch, state, drawn(1))
    assert torch.equal(made.x, flipped_and_cropped(view.train.x[rows] + state["friendly"][rows], drawn(1)))


def test_a_warm_up_that_never_ends_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"defense\.warmup: expected less than the recipe's 3 epochs, got 3"):
        procedure(FriendlyNoise(warmup=3), Game())


@pytest.mark.parametrize(
    "fields",
    [{"warmup": -1}, {"steps": 0}, {"zeta": 0.0}, {"zeta": 2.0}, {"lr": 0.0}, {"lam": -1.0}, {"mu": float("nan")}],
)
def test_wrong_fields_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"defense\.{next(iter(fields))}: expected"):
        load("defense", "friendly-noise")(**fields)
