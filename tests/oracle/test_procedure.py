"""A training by a procedure: each place of the loop against training written plainly, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from poisonbench.errors import ValidationError
from poisonbench.experiment.checked_procedure import CheckedProcedure
from poisonbench.models.base import Model
from poisonbench.problem.procedure import Batch, Procedure, State
from poisonbench.problem.recipe import Recipe
from poisonbench.problem.samples import Samples, Weights
from poisonbench.seeding import child_generator
from poisonbench.stages import stage as stage_module
from poisonbench.stages.checkpoint import Checkpoint
from poisonbench.stages.stage import Silent, Stage
from poisonbench.testing.game import Game
from poisonbench.training import train

RECIPE = Recipe(lr=0.1, batch_size=16, epochs=4, momentum=0.9)
ADAM = Recipe("adam", lr=0.02, batch_size=16, epochs=4)


def trained(
    game: Game,
    procedure: Procedure | None,
    samples: Samples | None = None,
    checked: bool = True,
    recipe: Recipe = RECIPE,
) -> Weights:
    if procedure is not None and checked:
        procedure = CheckedProcedure(procedure, "mine", game.classes)
    rows = game.samples("train", game.n_train) if samples is None else samples
    return train(game.target(), rows, recipe, Stage(child_generator(0, "train")), "train", procedure)


def close(first: Weights, second: Weights, tolerance: float = 1e-6) -> bool:
    return all(torch.allclose(first[name], second[name], atol=tolerance, rtol=0) for name in first)


def same(first: Weights, second: Weights) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def leaves(model: Model) -> Weights:
    drawn = model.init(torch.Generator().manual_seed(0))
    return {name: value.requires_grad_(name not in model.buffers) for name, value in drawn.items()}


class Changed(Procedure):
    """Steps on other batches."""

    def __init__(self, change: Callable[[Batch], Batch]) -> None:
        self.change = change

    def batch(self, weights: Weights, batch: Batch, state: State, generator: torch.Generator) -> Batch:
        return self.change(batch)


GAMES = [Game(), Game(model="svm"), Game(model="nn"), Game(model="resnet18", shape=(3, 4, 4), n_train=20)]


@pytest.mark.parametrize("game", GAMES, ids=lambda game: game.model)
def test_one_that_changes_nothing_is_plain_training_to_the_bit(game: Game) -> None:
    assert same(trained(game, Procedure()), trained(game, None))


@pytest.mark.parametrize("game", GAMES, ids=lambda game: game.model)
def test_soft_labels_and_weights_of_rows(game: Game) -> None:
    """Certain labels and weights of 1 are plain training; a batch of halves is one of whole rows of half the weight."""

    def certain(batch: Batch) -> Batch:
        soft = torch.nn.functional.one_hot(batch.y, game.classes).float()
        return replace(batch, y=soft, weights=torch.ones(len(soft)))

    assert close(trained(game, Changed(certain)), trained(game, None), 1e-5)
    model, rows = game.target(), game.samples("train", 12)
    other, z, counts = (rows.y + 1) % game.classes, model.normalise(rows.x), torch.linspace(0, 2, 12)
    one_hot = [torch.nn.functional.one_hot(y, game.classes) for y in (rows.y, other)]
    found = model.weighted_gradient(leaves(model), z, 0.3 * one_hot[0] + 0.7 * one_hot[1], counts)
    weights = leaves(model)
    logits = model.forward(weights, z, training=True)
    loss = (counts * (0.3 * model.losses(logits, rows.y) + 0.7 * model.losses(logits, other))).mean()
    expected = torch.autograd.grad(loss, list(model.parameters(weights).values()))
    assert float(found[0]) == pytest.approx(float(loss.detach()), rel=1e-5)
    assert all(torch.allclose(one, two, atol=1e-6) for one, two in zip(found[1], expected, strict=True))


class Half(Procedure):
    """Goes through every other row, but for the first epoch; remembers what each step was on."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def epoch(self, number: int, weights: Weights, state: State, generator: torch.Generator) -> Tensor | None:
        return torch.arange(60) % 2 == 0 if number else None

    def batch(self, weights: Weights, batch: Batch, state: State, generator: torch.Generator) -> Batch:
        self.seen.append(batch.rows)
        return batch


def test_an_epoch_of_some_rows_goes_through_these_in_the_order_of_all() -> None:
    game, half = Game(), Half()
    trained(game, half)
    every, rest = torch.cat(half.seen[:4]), torch.cat(half.seen[4:])
    assert sorted(every.tolist()) == list(range(60))
    assert sorted(rest.tolist()) == sorted([*range(0, 60, 2)] * 3)
    stream = child_generator(0, "train")
    game.target().init(stream)
    orders = [torch.randperm(60, generator=stream) for _ in range(2)]
    assert every.tolist() == orders[0].tolist()
    assert rest[:30].tolist() == [row for row in orders[1].tolist() if row % 2 == 0]


def test_adam_counts_the_steps_that_short_epochs_take() -> None:
    """Against torch's Adam on the same batches, 4 and three times 2 steps of float32: 1e-6 a step is loose. Counting
    whole epochs' steps differs by 1e-3."""
    game, half = Game(), Half()
    ours = trained(game, half, recipe=ADAM)
    model, rows = game.target(), game.samples("train", game.n_train)
    theirs = {name: value.requires_grad_() for name, value in model.init(child_generator(0, "train")).items()}
    optimizer = torch.optim.Adam(theirs.values(), lr=ADAM.lr)
    assert len(half.seen) == 4 + 3 * 2
    for batch in half.seen:
        optimizer.zero_grad()
        model.loss(model.forward(theirs, model.normalise(rows.x[batch]), training=True), rows.y[batch]).backward()
        optimizer.step()
    assert close(ours, {name: value.detach() for name, value in theirs.items()}, 1e-5)


class Noisy(Procedure):
    """Adds noise to gradients, keeps their sum, and returns the weights halved."""

    def state(self, samples: Samples) -> State:
        return {"steps": torch.zeros(()), "last": torch.zeros(len(samples))}

    def gradient(
        self, model: Model, weights: Weights, batch: Batch, state: State, generator: torch.Generator
    ) -> tuple[Tensor, list[Tensor]]:
        state["steps"] = state["steps"] + 1
        state["last"][batch.rows] = state["steps"]
        loss, gradients = super().gradient(model, weights, batch, state, generator)
        return loss, [part + 0.1 * torch.randn(part.shape, generator=generator) for part in gradients]

    def result(self, weights: Weights, state: State) -> Weights:
        return {name: value / state["steps"] for name, value in weights.items()}


def test_gradients_state_and_result() -> None:
    """Sixteen steps, of which the record of the last says which rows were in it; no step draws what another drew."""
    game, kept = Game(), list[State]()

    class Watched(Noisy):
        def result(self, weights: Weights, state: State) -> Weights:
            kept.append(state)
            return super().result(weights, state)

    noisy = trained(game, Watched(), checked=False)
    assert int(kept[0]["steps"]) == 16
    assert sorted(kept[0]["last"].unique().tolist()) == [13, 14, 15, 16]
    assert not close(noisy, {name: value / 16 for name, value in trained(game, None).items()}, 1e-3)
    assert same(noisy, trained(game, Noisy()))


@pytest.mark.parametrize(("procedure", "recipe"), [(Noisy(), RECIPE), (Half(), ADAM)], ids=["noisy", "half, adam"])
def test_killed_and_resumed_it_keeps_its_state(
    procedure: Procedure, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage_module, "SAVE_EVERY_S", -1.0)
    game = Game()

    class Kill(Silent):
        def advance(self, task: str, done: int, measures: dict[str, float]) -> None:
            if done == 3:
                raise KeyboardInterrupt

    def run(checkpoint: Checkpoint, progress: Silent) -> Weights:
        stage = Stage(child_generator(0, "train"), checkpoint=checkpoint, progress=progress)
        checked = CheckedProcedure(procedure, "mine", game.classes)
        return train(game.target(), game.samples("train", game.n_train), recipe, stage, "train", checked)

    whole = run(Checkpoint(None), Silent())
    with pytest.raises(KeyboardInterrupt):
        run(Checkpoint(tmp_path), Kill())
    assert same(run(Checkpoint(tmp_path), Silent()), whole)


@pytest.mark.parametrize("recipe", [RECIPE, ADAM], ids=["sgd", "adam"])
def test_what_a_plain_run_saves_is_what_it_saved_before_epochs_could_be_short(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs that an earlier release began are gone on with."""
    monkeypatch.setattr(stage_module, "SAVE_EVERY_S", -1.0)
    game = Game()
    stage = Stage(child_generator(0, "train"), checkpoint=Checkpoint(tmp_path))
    train(game.target(), game.samples("train", game.n_train), recipe, stage, "train")
    saved = Checkpoint(tmp_path).load("train")
    assert saved is not None
    slots = {"": RECIPE, "velocity/": RECIPE, "first/": ADAM, "second/": ADAM}
    kept = [slot for slot, whose in slots.items() if not slot or whose == recipe]
    assert set(saved.tensors) == {f"{slot}linear.{name}" for slot in kept for name in ("weight", "bias")}


def test_resumed_after_its_last_epoch_it_has_the_state_of_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop is not run again, and what a run returns may come of the state alone."""
    monkeypatch.setattr(stage_module, "SAVE_EVERY_S", -1.0)
    game = Game()

    class Counting(Procedure):
        def state(self, samples: Samples) -> State:
            return {"epochs": torch.zeros(())}

        def epoch(self, number: int, weights: Weights, state: State, generator: torch.Generator) -> None:
            state["epochs"] = state["epochs"] + 1

        def result(self, weights: Weights, state: State) -> Weights:
            return {name: torch.full_like(value, float(state["epochs"])) for name, value in weights.items()}

    for _ in range(2):
        stage = Stage(child_generator(0, "train"), checkpoint=Checkpoint(tmp_path))
        found = train(game.target(), game.samples("train", 24), RECIPE, stage, "train", Counting())
        assert {value.unique().item() for value in found.values()} == {RECIPE.epochs}


def test_no_rows_leave_the_initial_weights() -> None:
    game = Game()
    assert same(trained(game, None, game.samples("train", 0)), game.target().init(child_generator(0, "train")))


def bad(place: str, value: object) -> Procedure:
    return type("Bad", (Noisy,), {place: lambda self, *arguments: value})()


@pytest.mark.parametrize(
    ("procedure", "message"),
    [
        (bad("state", {"a": 1}), "keep dense tensors by name"),
        (bad("epoch", torch.ones(60)), "one boolean a row"),
        (bad("epoch", torch.zeros(60, dtype=torch.bool)), "some of them true"),
        (bad("epoch", torch.ones(59, dtype=torch.bool)), "one boolean a row"),
        (bad("gradient", (torch.zeros(()), [torch.zeros(3)])), "a loss and a gradient like the model's parameters"),
        (bad("gradient", None), "a loss and a gradient like the model's parameters"),
        (bad("result", {}), "return weights of the model"),
    ],
)
def test_what_no_step_could_be_taken_on_is_refused(procedure: Procedure, message: str) -> None:
    with pytest.raises(ValidationError, match=f"mine must .*{message}"):
        trained(Game(), procedure)


def test_a_state_that_changes_its_shape_is_refused() -> None:
    class Growing(Noisy):
        def batch(self, weights: Weights, batch: Batch, state: State, generator: torch.Generator) -> Batch:
            state["more"] = torch.zeros(1)
            return batch

    with pytest.raises(ValidationError, match="mine must keep the state that it began with"):
        trained(Game(), Growing())
