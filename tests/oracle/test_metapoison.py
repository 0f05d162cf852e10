"""MetaPoison's gradient against finite differences, the stack of models against each model by itself."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from poisonbench.attacks.metapoison import attack as attack_module
from poisonbench.attacks.metapoison import ensemble
from poisonbench.attacks.metapoison.attack import MetaPoison
from poisonbench.attacks.metapoison.ensemble import ensemble_gradient, gradient, stacked, stagger, train_staggered
from poisonbench.errors import ConfigError
from poisonbench.models.base import Model, linear_init
from poisonbench.models.linear import LinearModel
from poisonbench.plugins.registry import load
from poisonbench.problem.recipe import Recipe
from poisonbench.problem.samples import PoisonSet, Samples, Weights
from poisonbench.seeding import child_generator
from poisonbench.stages import stage as stage_module
from poisonbench.stages.checkpoint import Checkpoint, Saved
from poisonbench.stages.stage import Stage
from poisonbench.testing import Game

SHAPE, CLASSES, M, K, ALPHA, SHARE = (1, 4, 4), 3, 3, 2, 0.5, 0.3
f64 = torch.float64


class Scaled(LinearModel):
    """A linear model whose logits are twice W z + b."""

    def forward(self, weights: Weights, z: Tensor, training: bool = False) -> Tensor:
        """See Model."""
        return 2 * super().forward(weights, z, training)


def toy(name: str) -> tuple[Model, list[Weights], Samples, list[Samples], Samples]:
    """Model, M weights, poison rows, K minibatches and a held-out one (normalised)."""
    generator = torch.Generator().manual_seed(0)
    kind: type[Model] = Scaled if name == "scaled" else load("model", name)
    model = kind(SHAPE, CLASSES, (0.5,), (0.5,))
    weights = [{name: value.double() for name, value in model.init(generator).items()} for _ in range(M)]

    def rows(n: int, normalised: bool = True) -> Samples:
        x = torch.rand((n, *SHAPE), generator=generator, dtype=f64)
        return Samples(model.normalise(x) if normalised else x, torch.arange(n) % CLASSES, torch.arange(n))

    return model, weights, rows(4, normalised=False), [rows(6) for _ in range(K)], rows(5)


def adversarial_loss(
    model: Model, weights: list[Weights], poison: Samples, clean: list[Samples], held_out: Samples
) -> float:
    """The objective as it is written: models in a loop, steps in a loop, one batch of clean and poison rows."""
    values = []
    for start in weights:
        w = start
        for batch in clean:
            w = {name: value.detach().requires_grad_() for name, value in w.items()}
            z, y = torch.cat([batch.x, model.normalise(poison.x)]), torch.cat([batch.y, poison.y])
            weights_of_rows = [(1 - SHARE) / len(batch)] * len(batch) + [SHARE / len(poison)] * len(poison)
            f = (torch.tensor(weights_of_rows, dtype=f64) * model.losses(model.forward(w, z, training=True), y)).sum()
            w = _descended(w, f)
            values.append(float(model.loss(model.forward(w, held_out.x), held_out.y)))
    return sum(values) / len(values)


def _descended(w: Weights, f: Tensor) -> Weights:
    slopes = torch.autograd.grad(f, list(w.values()))
    return {name: (value - ALPHA * slope).detach() for (name, value), slope in zip(w.items(), slopes, strict=True)}


@pytest.mark.parametrize("name", ["lr", "svm", "scaled", "nn", "cnn"])
def test_gradient_against_finite_differences(name: str) -> None:
    """Central differences with h = 1e-5: truncation h² and rounding 1e-16 / h are both 1e-10 or less of values near 1;
    the gradients are above 1e-3, so 1e-6 relative leaves a margin."""
    model, weights, poison, clean, held_out = toy(name)
    found, value = ensemble_gradient(model, stacked(weights), poison, clean, held_out, ALPHA, SHARE)
    assert value == pytest.approx(adversarial_loss(model, weights, poison, clean, held_out), rel=1e-12)
    pixels = [*found.abs().flatten().argsort(descending=True)[:4].tolist(), 0]
    h = 1e-5
    for pixel in pixels:
        ends = []
        for sign in (1, -1):
            x = poison.x.clone()
            x.view(-1)[pixel] += sign * h
            ends.append(adversarial_loss(model, weights, replace(poison, x=x), clean, held_out))
        slope = (ends[0] - ends[1]) / (2 * h)
        assert abs(slope - float(found.view(-1)[pixel])) < 1e-6 * float(found.abs().max())


def test_at_once_is_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums in another order, float64: 1e-10 relative is generous."""
    model, weights, poison, clean, held_out = toy("nn")
    stack = {name: value.requires_grad_() for name, value in stacked(weights).items()}
    assert len(ensemble.together(model, stack, clean[0].x)) == 1
    ascent, value = ensemble_gradient(model, stack, poison, clean, held_out, ALPHA, SHARE)
    loss, slopes = gradient(model, stack, held_out.x, held_out.y)
    monkeypatch.setattr(ensemble, "LARGEST_AT_ONCE", 0)
    assert len(ensemble.together(model, stack, clean[0].x)) == M
    other_ascent, other_value = ensemble_gradient(model, stack, poison, clean, held_out, ALPHA, SHARE)
    other_loss, other_slopes = gradient(model, stack, held_out.x, held_out.y)
    torch.testing.assert_close(ascent, other_ascent, rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(slopes, other_slopes, rtol=1e-10, atol=1e-14)
    assert (value, float(loss)) == pytest.approx((other_value, float(other_loss)), rel=1e-12)


@pytest.mark.parametrize("name", ["lr", "svm", "scaled", "nn", "cnn"])
def test_the_stacks_gradient_is_the_models_gradients(name: str) -> None:
    """The same operations on the same numbers, or a batched product of them: 1e-12."""
    model, weights, _, _, held_out = toy(name)
    stack = {name: value.requires_grad_() for name, value in stacked(weights).items()}
    _, slopes = gradient(model, stack, held_out.x, held_out.y)
    for m, w in enumerate(weights):
        leaves = {name: value.clone().requires_grad_() for name, value in w.items()}
        _, expected = model.gradient(leaves, held_out.x, held_out.y)
        torch.testing.assert_close([part[m] for part in slopes], list(expected), rtol=1e-12, atol=1e-14)


class Normalised(Model):
    """A linear layer on batch-normalised pixels, with the running mean and variance as buffers."""

    buffers = frozenset({"mean", "variance"})

    def init(self, generator: torch.Generator) -> Weights:
        d = math.prod(self.shape)
        return {"mean": torch.zeros(d), "variance": torch.ones(d), **linear_init(generator, "linear", d, self.classes)}

    def forward(self, weights: Weights, z: Tensor, training: bool = False) -> Tensor:
        z = F.batch_norm(z.flatten(1), weights["mean"], weights["variance"], training=training)
        return F.linear(z, weights["linear.weight"], weights["linear.bias"])


def test_batch_statistics_move_in_training_and_not_in_crafting() -> None:
    model, generator = Normalised(SHAPE, CLASSES, (0.5,), (0.5,)), torch.Generator().manual_seed(0)
    stack = stacked([model.init(generator) for _ in range(2)])
    before = {name: value.clone() for name, value in stack.items()}
    rows = Game(shape=SHAPE, classes=CLASSES).samples("train", 8)
    found, _ = ensemble_gradient(model, stack, rows, [rows, rows], rows, 0.1, SHARE)
    assert float(found.abs().max()) > 0
    assert all(torch.equal(stack[name], value) for name, value in before.items())
    leaves = {name: value.requires_grad_(name not in model.buffers) for name, value in stack.items()}
    gradient(model, leaves, rows.x, rows.y)
    assert bool((stack["mean"] != before["mean"]).any(1).all())


def test_models_start_evenly_over_the_run() -> None:
    assert stagger(24, 24) == list(range(24))
    assert stagger(24, 100)[:4] == [0, 4, 8, 12]
    assert stagger(24, 100)[-1] == 95
    assert stagger(3, 2) == [0, 0, 1]


@pytest.mark.parametrize("name", ["lr", "nn", "cnn"])
def test_a_staggered_model_is_the_model_trained_alone(name: str) -> None:
    """Model m's weights are those of ⌊mE/M⌋ epochs of plain SGD in the last ⌊mE/M⌋ orders of rows that were drawn.
    float32 steps of the same gradients, up to the order of sums: 1e-5."""
    size, epochs, n, recipe = 4, 6, 20, Recipe(lr=0.5, batch_size=8)
    game = Game(model=name, n_train=n)
    model, rows = game.target(), game.samples("train", n)
    z = model.normalise(rows.x)
    starts = stagger(size, epochs)
    found = train_staggered(
        model,
        starts,
        lambda stack, batch: gradient(model, stack, z[batch], rows.y[batch]),
        n,
        recipe,
        Stage(child_generator(0, "attack")),
    )
    generator = child_generator(0, "attack")
    fresh = [model.init(generator) for _ in range(size)]
    orders = [torch.randperm(n, generator=generator) for _ in range(starts[-1])]
    for m, w in enumerate(fresh):
        alone = {name: value.clone().requires_grad_() for name, value in w.items()}
        for order in orders[len(orders) - starts[m] :]:
            for batch in order.split(recipe.batch_size):
                _, slopes = model.gradient(alone, z[batch], rows.y[batch])
                with torch.no_grad():
                    for value, slope in zip(model.parameters(alone).values(), slopes, strict=True):
                        value -= recipe.lr * slope
        for name, value in alone.items():
            torch.testing.assert_close(found[name][m], value.detach(), rtol=1e-5, atol=1e-6)


def craft(attack: MetaPoison, game: Game, at: Checkpoint | None = None) -> PoisonSet:
    view = game.attacker(attack.threat)
    stage = Stage(child_generator(0, "attack"), checkpoint=at or Checkpoint(None))
    return attack.craft(view, game.budget(attack.threat), stage)


def saved(attack: MetaPoison, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Saved:
    """The loop's state after its last step."""
    monkeypatch.setattr(stage_module, "SAVE_EVERY_S", -1.0)
    craft(attack, Game(), Checkpoint(folder))
    last = Checkpoint(folder).load("metapoison")
    assert last is not None
    return last


@pytest.mark.parametrize("radius", [8 / 255, 0.5])
def test_one_craft_step_goes_to_a_corner_of_the_ball_and_the_box(radius: float) -> None:
    """Adam's first step is the rate times the gradient's sign, and the rate is above the radius."""
    poison = craft(MetaPoison(steps=1, M=2, epochs=2, radius=radius), Game())
    clean = Game().samples("train", 60).x[poison.source]
    up, down = (clean + radius).clamp(0, 1), (clean - radius).clamp(0, 1)
    assert torch.equal(poison.source, torch.arange(6))
    assert bool(((poison.x - up).abs() < 1e-6).logical_or((poison.x - down).abs() < 1e-6).all())
    assert bool((poison.x == up).any())
    assert bool((poison.x == down).any())


def test_a_craft_step_has_held_out_rows_and_the_poisons_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `ensemble_gradient` is handed: K minibatches of D_tr and one of D_v, normalised; α, the inner models' step
    size; n / (N + n), the poison's part of D_tr ∪ D_p."""
    handed: list[tuple[Samples, list[Samples], Samples, float, float]] = []

    def watched(model: Model, models: Weights, *arguments: Any) -> tuple[Tensor, float]:
        handed.append(arguments)
        return ensemble_gradient(model, models, *arguments)

    monkeypatch.setattr(attack_module, "ensemble_gradient", watched)
    attack, game = MetaPoison(steps=2, M=2, epochs=2, lr=0.07, batch_size=12, K=3), Game()
    view, budget = game.attacker(attack.threat), game.budget(attack.threat)
    attack.craft(view, budget, Stage(child_generator(0, "attack")))
    assert len(handed) == 2
    for poison, clean, held_out, alpha, share in handed:
        assert len(clean) == 3
        for batch, rows in [*((batch, view.train) for batch in clean), (held_out, view.validation)]:
            assert len(batch) == 12
            assert len(batch.ids.unique()) == 12
            assert torch.equal(batch.x, view.model.normalise(rows.x[batch.ids]))
            assert torch.equal(batch.y, rows.y[batch.ids])
        assert torch.equal(poison.y, view.train.y[: budget.n_poison])
        assert alpha == 0.07
        assert share == budget.n_poison / (len(view.train) + budget.n_poison)


def test_the_rate_falls_twice() -> None:
    attack = MetaPoison(craft_rate=0.5, drop_every=20)
    rates = [attack._rate(step) for step in (0, 19, 20, 39, 40, 1000)]
    assert rates == pytest.approx([0.5, 0.5, 0.05, 0.05, 0.005, 0.005])


def test_the_released_rate_warms_up_quadratically_and_falls_twice() -> None:
    """((s + 1) / 5)² of 200 levels of 255, then as without."""
    attack = MetaPoison(**MetaPoison.presets["released"])
    levels = [255 * attack._rate(step) for step in (0, 1, 2, 3, 4, 5, 19, 20, 40, 60)]
    assert levels == pytest.approx([8, 32, 72, 128, 200, 200, 200, 20, 2, 2])
    steady = MetaPoison()
    assert [steady._rate(step) for step in range(20)] == [200 / 255] * 20


def test_a_warm_craft_step_is_as_long_as_its_rate() -> None:
    """The first of five: 1/25 of half the range; float32 pixels of order one."""
    poison = craft(MetaPoison(steps=1, M=2, epochs=2, radius=0.5, craft_rate=0.5, warmup=5), Game())
    moved = (poison.x - Game().samples("train", 60).x[poison.source]).abs()
    assert float(moved.max()) == pytest.approx(0.02, abs=1e-6)
    assert float((moved > 0.019).float().mean()) > 0.8


def test_the_poison_raises_the_retrained_validation_loss() -> None:
    """Against the same rows added unchanged: what an attack is for. Wide radius, so that the effect is no accident."""
    game = Game(epsilon=0.3, n_train=60)
    poison = craft(MetaPoison(M=6, epochs=3, radius=0.5, steps=30, advance=1.0), game)
    train, held_out, model = game.samples("train", 60), game.samples("validation", 40), game.target()
    values = []
    for x in (train.x[poison.source], poison.x):
        w = game.fit(train.plus(Samples(x, poison.y, poison.source)))
        values.append(float(model.loss(model.predict(w, held_out.x), held_out.y)))
    assert values[1] > values[0] + 0.05


def test_a_model_at_the_end_of_its_run_starts_afresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two models, two epochs, an epoch a craft step: the second ends its run in the first step. The step size throws
    trained weights out of the interval that fresh ones are drawn from."""
    last = saved(MetaPoison(steps=1, M=2, epochs=2, advance=1.0, lr=20.0), tmp_path, monkeypatch)
    assert last.tensors["epochs"].tolist() == [1.0, 0.0]
    trained, fresh = last.tensors["models/linear.weight"].abs().flatten(1).max(1).values.tolist()
    assert fresh <= 1 / math.sqrt(16) < trained


def test_only_the_poisoned_trajectory_sees_the_poison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for trajectory, same in (("clean", True), ("poisoned", False)):
        ends = [
            saved(
                MetaPoison(steps=1, M=2, epochs=4, advance=1.0, trajectory=trajectory, craft_rate=rate, radius=0.5),
                tmp_path / f"{trajectory}{rate}",
                monkeypatch,
            ).tensors["models/linear.weight"]
            for rate in (0.5, 1e-6)
        ]
        assert torch.equal(*ends) == same


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"K": 0}, r"attack\.K: expected an integer ≥ 1, got 0"),
        ({"steps": 0}, r"attack\.steps"),
        ({"M": 0}, r"attack\.M"),
        ({"epochs": -1}, r"attack\.epochs"),
        ({"batch_size": -1}, r"attack\.batch_size"),
        ({"drop_every": 0}, r"attack\.drop_every"),
        ({"warmup": -1}, r"attack\.warmup"),
        ({"lr": -0.1}, r"attack\.lr"),
        ({"lr": math.inf}, r"attack\.lr"),
        ({"craft_rate": 0.0}, r"attack\.craft_rate"),
        ({"advance": 0.0}, r"attack\.advance"),
        ({"radius": 1.1}, r"attack\.radius"),
    ],
)
def test_fields_out_of_range_are_refused(fields: dict[str, object], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        MetaPoison(**fields)
