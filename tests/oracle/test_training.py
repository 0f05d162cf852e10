"""The training loop against torch.optim on the same batches, and its promises of determinism.

One floating-point step of ours and one of torch.optim's differ in the order of additions; over 40 float64 steps of a
problem without chaos that stays near 40 · 1e-16, so 1e-13 is loose; a missing term shows at 1e-3.
"""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from poisonbench.errors import ConfigError, DivergedError
from poisonbench.identity.tensors import tensor_hash
from poisonbench.problem.recipe import Recipe
from poisonbench.problem.samples import Weights
from poisonbench.seeding import child_generator
from poisonbench.stages import stage as stage_module
from poisonbench.stages.checkpoint import Checkpoint
from poisonbench.stages.stage import Silent, Stage
from poisonbench.testing import Game
from poisonbench.training import descend, minimise, train

N = 23  # with batches of 5 the last batch of an epoch is short

RECIPES = {
    "sgd": Recipe(lr=0.1, batch_size=5, epochs=8),
    "weight decay": Recipe(lr=0.1, weight_decay=0.03, batch_size=5, epochs=8),
    "momentum": Recipe(lr=0.05, momentum=0.9, batch_size=5, epochs=8),
    "momentum and weight decay": Recipe(lr=0.05, momentum=0.8, weight_decay=0.01, batch_size=5, epochs=8),
    "cosine": Recipe(lr=0.2, momentum=0.5, batch_size=5, epochs=8, schedule="cosine"),
    "adam": Recipe("adam", lr=0.01, batch_size=5, epochs=8),
    "adam with weight decay": Recipe("adam", lr=0.01, weight_decay=0.1, batch_size=5, epochs=8),
    "adam, cosine": Recipe("adam", lr=0.02, batch_size=5, epochs=8, schedule="cosine"),
}


def problem() -> tuple[Tensor, Tensor, Weights]:
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(N, 6, generator=generator, dtype=torch.float64)
    y = torch.arange(N) % 3
    start = {
        "weight": torch.randn(3, 6, generator=generator, dtype=torch.float64),
        "bias": torch.zeros(3, dtype=torch.float64),
    }
    return X, y, start


@pytest.mark.parametrize("name", RECIPES)
def test_minimise_is_torch_optim(name: str) -> None:
    recipe, (X, y, start) = RECIPES[name], problem()

    def loss(weights: Weights, rows: Tensor) -> Tensor:
        return torch.nn.functional.cross_entropy(X[rows] @ weights["weight"].T + weights["bias"], y[rows])

    def batch_gradient(weights: Weights, rows: Tensor) -> tuple[Tensor, list[Tensor]]:
        value = loss(weights, rows)
        return value.detach(), list(torch.autograd.grad(value, [weights["bias"], weights["weight"]]))

    ours = minimise(batch_gradient, start, frozenset(), N, recipe, Stage(torch.Generator().manual_seed(5)), "task")

    leaves = {key: value.clone().requires_grad_() for key, value in start.items()}
    if recipe.optimizer == "adam":
        optimizer: torch.optim.Optimizer = torch.optim.Adam(
            leaves.values(), lr=recipe.lr, weight_decay=recipe.weight_decay
        )
    else:
        optimizer = torch.optim.SGD(
            leaves.values(), lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
        )
    generator = torch.Generator().manual_seed(5)
    for epoch in range(recipe.epochs):
        if recipe.schedule == "cosine":
            optimizer.param_groups[0]["lr"] = recipe.lr * (1 + math.cos(math.pi * epoch / recipe.epochs)) / 2
        for rows in torch.randperm(N, generator=generator).split(5):
            optimizer.zero_grad()
            loss(leaves, rows).backward()
            optimizer.step()
    for key, value in leaves.items():
        assert float((ours[key] - value.detach()).abs().max()) < 1e-13
        assert not ours[key].requires_grad
    assert torch.equal(start["weight"], problem()[2]["weight"])  # where it starts is not changed


def test_the_cosine_schedule_is_torchs() -> None:
    recipe = Recipe(lr=0.3, epochs=7, schedule="cosine")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=7)
    for epoch in range(7):
        assert recipe.rate(epoch) == pytest.approx(schedule.get_last_lr()[0], rel=1e-12)  # torch's is recursive
        optimizer.step()
        schedule.step()
    assert Recipe(lr=0.3, epochs=7).rate(6) == 0.3


def test_a_diverging_run_names_epoch_and_rate() -> None:
    game = Game(model="nn")
    with pytest.raises(
        DivergedError, match=r"pretrain diverged: loss (nan|inf) at epoch \d+ of 50 with learning rate 1e\+30"
    ):
        train(
            game.target(),
            game.samples("train", 40),
            Recipe(lr=1e30, epochs=50),
            Stage(child_generator(0, "t")),
            "pretrain",
        )


def test_adam_refuses_momentum() -> None:
    with pytest.raises(ConfigError, match="momentum belongs to sgd"):
        Recipe("adam", momentum=0.9)


@pytest.mark.parametrize("name", ["lr", "svm", "nn", "cnn"])
def test_training_is_deterministic_and_leaves_its_data_alone(name: str) -> None:
    game = Game(model=name)
    recipe = Recipe(lr=0.05, batch_size=8, epochs=1)
    samples = game.samples("train", 16)
    before = tensor_hash(samples.x, samples.y)
    runs = [train(game.target(), samples, recipe, Stage(child_generator(0, "t")), "train") for _ in range(2)]
    assert tensor_hash(*runs[0].values()) == tensor_hash(*runs[1].values())
    assert tensor_hash(samples.x, samples.y) == before
    other = train(game.target(), samples, recipe, Stage(child_generator(1, "t")), "train")
    assert tensor_hash(*other.values()) != tensor_hash(*runs[0].values())


def test_batch_statistics_move_and_are_no_parameters() -> None:
    game = Game(model="resnet18", shape=(3, 4, 4))
    model = game.target()
    start = model.init(child_generator(0, "t"))
    end = train(
        model, game.samples("train", 8), Recipe(batch_size=8, epochs=1), Stage(child_generator(0, "t")), "train"
    )
    assert int(end["bn1.num_batches_tracked"]) == 1
    assert not torch.equal(end["bn1.running_mean"], start["bn1.running_mean"])
    assert model.buffers.isdisjoint(model.parameters(end))


class Kill(Silent):
    """Raises in the k-th step."""

    def __init__(self, at: int) -> None:
        self.at = at

    def advance(self, task: str, done: int, measures: dict[str, float]) -> None:
        if done == self.at:
            raise KeyboardInterrupt


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("at", [1, 2, 5, 6])
def test_killed_in_any_epoch_and_resumed_it_ends_in_the_same_bits(
    optimizer: str, at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage_module, "SAVE_EVERY_S", -1.0)
    game, momentum = Game(), 0.9 if optimizer == "sgd" else 0.0
    recipe = replace(Recipe(lr=0.01, batch_size=16, epochs=6, momentum=momentum), optimizer=optimizer)
    samples = game.samples("train", 60)

    def run(checkpoint: Checkpoint, progress: Silent) -> str:
        stage = Stage(child_generator(0, "t"), checkpoint=checkpoint, progress=progress)
        return tensor_hash(*train(game.target(), samples, recipe, stage, "train").values())

    whole = run(Checkpoint(None), Silent())
    with pytest.raises(KeyboardInterrupt):
        run(Checkpoint(tmp_path), Kill(at))
    assert run(Checkpoint(tmp_path), Silent()) == whole


def test_who_watches_changes_nothing_and_misses_no_epoch_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage_module, "SAVE_EVERY_S", -1.0)
    game, recipe = Game(), Recipe(batch_size=10, epochs=6)
    rows, target = game.samples("train", 40), game.target()
    seen: list[Weights] = []

    def watch(weights: Weights) -> dict[str, float]:
        seen.append({name: value.clone() for name, value in weights.items()})
        torch.rand(5)  # of the global stream
        return {"norm": float(sum(value.square().sum() for value in weights.values()))}

    def run(checkpoint: Path | None, kill_at: int = 0) -> tuple[Weights, Stage]:
        stage = Stage(child_generator(0, "train"), checkpoint=Checkpoint(checkpoint), progress=Kill(kill_at))
        return train(target, rows, recipe, stage, "train", watch=watch), stage

    weights, stage = run(None)
    assert all(torch.equal(seen[-1][name], value) for name, value in weights.items())
    assert tensor_hash(*weights.values()) == tensor_hash(
        *train(target, rows, recipe, Stage(child_generator(0, "train")), "train").values()
    )
    assert [len(seen), stage.traces["train"]["step"]] == [6, [1, 2, 3, 4, 5, 6]]
    assert len(stage.untimed_s) == 6  # each look is beside the clock
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, 4)
    _, resumed = run(tmp_path)
    assert resumed.traces == stage.traces


@pytest.mark.parametrize("name", ["lr", "svm", "nn", "cnn"])
def test_steps_in_one_call_are_those_one_by_one(name: str) -> None:
    game = Game(model=name)
    target, rows = game.target(), game.samples("train", 24)
    z = target.normalise(rows.x)
    apart: Weights = {}
    at_once: Weights = {}
    for weights in (apart, at_once):
        weights |= {key: value.requires_grad_() for key, value in target.init(child_generator(0, "t")).items()}
    for _ in range(5):
        _, gradients = target.gradient(apart, z, rows.y)
        descend(list(target.parameters(apart).values()), gradients, 0.2)
    target.descend(at_once, z, rows.y, 0.2, 5)
    assert all(torch.equal(apart[key], at_once[key]) for key in apart)
    start = target.init(child_generator(0, "t"))
    assert not any(torch.equal(at_once[key], start[key]) for key in start)


@pytest.mark.parametrize("name", ["lr", "svm", "nn"])
def test_clipped_steps_are_those_of_torch(name: str) -> None:
    """Against clip_grad_norm_ and SGD over six steps at a large rate, some clipped and some not; that adds 1e-6 to the
    norm, hence 1e-4. A norm that is never reached changes no bit."""
    game = Game(model=name)
    target, rows = game.target(), game.samples("train", 24)
    z = target.normalise(rows.x)
    start = target.init(child_generator(0, "t"))
    free, ours, theirs = ({key: value.clone().requires_grad_() for key, value in start.items()} for _ in range(3))
    norms = []
    optimizer = torch.optim.SGD(list(theirs.values()), lr=0.5)
    loose = {key: value.clone().requires_grad_() for key, value in start.items()}
    target.descend(free, z, rows.y, 0.5, 6)
    target.descend(loose, z, rows.y, 0.5, 6, 1e6)
    assert all(torch.equal(free[key], loose[key]) for key in free)
    first = torch.linalg.vector_norm(torch.cat([part.flatten() for part in target.gradient(ours, z, rows.y)[1]]))
    clip = 0.6 * float(first)
    target.descend(ours, z, rows.y, 0.5, 6, clip)
    for _ in range(6):
        optimizer.zero_grad()
        target.loss(target.forward(theirs, z), rows.y).backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(theirs.values(), clip)))
        optimizer.step()
    assert max(norms) > clip
    for key in ours:
        torch.testing.assert_close(ours[key], theirs[key], rtol=1e-4, atol=1e-5)
    assert not any(torch.equal(ours[key], free[key]) for key in ours)
