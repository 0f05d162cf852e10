"""RONI: batched retrainings against one by one, and what it rejects."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from poisonbench.defenses import roni
from poisonbench.defenses.retraining import Retraining
from poisonbench.defenses.roni import RONI, accuracy
from poisonbench.errors import ConfigError
from poisonbench.models.base import Model
from poisonbench.plugins.registry import load
from poisonbench.problem.procedure import Procedure
from poisonbench.problem.recipe import Recipe
from poisonbench.problem.samples import Samples, Weights
from poisonbench.problem.views import DefenderView
from poisonbench.seeding import child_generator
from poisonbench.stages.stage import Stage
from poisonbench.testing.game import Game
from poisonbench.training import train

RECIPE = Recipe(lr=0.5, batch_size=40, epochs=12, schedule="cosine")


def stage(seed: int = 0) -> Stage:
    return Stage(child_generator(seed, "defense"))


def rows(n: int, seed: int, model: Model) -> Samples:
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(model.classes, (n,), generator=generator)
    return Samples(torch.rand((n, *model.shape), generator=generator), y, torch.arange(n))


@pytest.mark.parametrize("batch_size", [40, 7])
@pytest.mark.parametrize("name", ["lr", "svm"])
def test_all_at_once_is_one_by_one(name: str, batch_size: int) -> None:
    """Gradients by autograd, in float64, with momentum and weight decay."""
    model: Model = load("model", name)((1, 3, 3), 4, (0.5,), (0.25,))
    recipe = replace(RECIPE, momentum=0.9, weight_decay=0.03, lr=0.2, batch_size=batch_size)
    first = {key: value.double() for key, value in model.init(torch.Generator().manual_seed(0)).items()}
    T, quiz, candidates = (rows(n, seed, model) for n, seed in ((12, 1), (6, 2), (9, 3)))
    T, quiz, candidates = (replace(part, x=part.x.double()) for part in (T, quiz, candidates))
    batched = Retraining(model, first, recipe, T, quiz.x, "roni")
    found = batched.scores(candidates.x, candidates.y)

    def alone(samples: Samples) -> torch.Tensor:
        weights = {key: value.clone().requires_grad_() for key, value in first.items()}
        velocity = {key: torch.zeros_like(value) for key, value in first.items()}
        for epoch in range(recipe.epochs):
            for _ in range(-(-len(samples) // batch_size)):
                loss = model.loss(model.forward(weights, model.normalise(samples.x)), samples.y)
                gradients = torch.autograd.grad(loss, list(weights.values()))
                for key, part in zip(weights, gradients, strict=True):
                    velocity[key] = 0.9 * velocity[key] + part + 0.03 * weights[key].detach()
                weights = {key: value.detach() - recipe.rate(epoch) * velocity[key] for key, value in weights.items()}
                weights = {key: value.requires_grad_() for key, value in weights.items()}
        return model.predict(weights, quiz.x).T

    for index in range(9):
        assert torch.allclose(found[index], alone(T.plus(candidates.rows(slice(index, index + 1)))), atol=1e-10)
    assert torch.allclose(batched.without(), alone(T), atol=1e-10)
    assert float((found - batched.without()).abs().max()) > 0.05


def test_it_is_the_training_of_the_recipe() -> None:
    """The project's own loop, whose batches hold all rows; to float32's rounding."""
    model: Model = load("model", "lr")((1, 3, 3), 4, (0.5,), (0.25,))
    T, quiz, candidates = (rows(n, seed, model) for n, seed in ((20, 1), (6, 2), (1, 3)))
    weights = model.init(child_generator(0, "train"))
    trained = train(model, T.plus(candidates), RECIPE, Stage(child_generator(0, "train")), "fit")
    found = Retraining(model, weights, RECIPE, T, quiz.x, "roni").scores(candidates.x, candidates.y)
    assert torch.allclose(found[0], model.predict(trained, quiz.x).T, atol=1e-5)


def fit(samples: Samples, procedure: Procedure | None = None) -> Weights:
    return Game(model="lr", shape=(1, 2, 3), classes=3).fit(samples, procedure)


def planted(name: str = "lr", n: int = 120) -> tuple[DefenderView, torch.Tensor]:
    """Three classes, of which every tenth row has another's label; and which rows are right."""
    model: Model = load("model", name)((1, 2, 3), 3, (0.5,), (0.25,))

    def clean(n: int, seed: int) -> Samples:
        generator = torch.Generator().manual_seed(seed)
        y = torch.arange(n) % 3
        x = 0.5 + 0.08 * torch.randn((n, 1, 2, 3), generator=generator)
        x[torch.arange(n), 0, 0, y] += 0.25
        return Samples(x, y, torch.arange(n))

    train, right = clean(n, 1), torch.arange(n) % 10 > 0
    poisoned = replace(train, y=torch.where(right, train.y, (train.y + 1) % 3))
    return DefenderView(poisoned, clean(180, 2), model, replace(RECIPE, lr=1.0, epochs=30), 3), right


@pytest.mark.parametrize("name", ["lr", "svm"])
def test_wrong_labels_have_a_negative_impact(name: str) -> None:
    view, right = planted(name)
    found = RONI(training=2, quiz=30, trials=12, deviations=2.0).select(view, fit, stage())
    gone = ~found.kept
    assert float((gone & ~right).sum() / gone.sum()) > 0.7
    assert float((gone & ~right).sum() / (~right).sum()) > 0.5
    assert float(found.scores[~right].mean()) > float(found.scores[right].mean()) + 0.005


def test_impacts_are_means_over_trials_and_the_limit_is_that_of_clean_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same draws, each row by itself."""
    view, _ = planted(n=30)
    view = replace(view, recipe=replace(view.recipe, epochs=8))
    monkeypatch.setattr(roni, "CHUNK", 7)
    defense = RONI(training=2, quiz=5, calibration=4, trials=3, deviations=1.0)
    found = defense.select(view, fit, stage())
    own = stage()
    order = torch.randperm(180, generator=own.generator)
    weights = view.model.init(own.generator)
    calibration, pool = view.trusted.rows(order[:12]), view.trusted.rows(order[12:])
    every = view.train.plus(calibration)
    impacts = torch.zeros(len(every))
    for _ in range(3):
        drawn = torch.randperm(168, generator=own.generator)
        T, quiz = pool.rows(drawn[:6]), pool.rows(drawn[6:21])
        batched = Retraining(view.model, weights, view.recipe, T, quiz.x, "roni")
        before = int((batched.without().argmax(0) == quiz.y).sum())
        for index in range(len(every)):
            one = batched.scores(every.x[index : index + 1], every.y[index : index + 1])[0]
            impacts[index] += (int((one.argmax(0) == quiz.y).sum()) - before) / 15 / 3
    assert torch.allclose(found.scores, -impacts[: len(view.train)], atol=1e-6)
    clean = impacts[len(view.train) :]
    limit = float(clean.mean() - clean.std(correction=0))
    assert found.stats["limit"] == pytest.approx(limit, abs=1e-6)
    sure = (impacts[: len(view.train)] - limit).abs() > 1e-5
    assert torch.equal(found.kept[sure], (impacts[: len(view.train)] >= limit)[sure])
    assert 0 < int(found.kept.sum()) < 30


def test_few_trusted_rows_are_shared_out() -> None:
    assert RONI().sizes(600, 10) == (100, 250, 250)
    assert RONI().sizes(300, 10) == (50, 125, 125)
    assert RONI().sizes(14, 10) == (2, 5, 5)
    assert RONI().sizes(4, 10) == (1, 1, 1)
    view, _ = planted()
    with pytest.raises(ConfigError, match="roni needs four trusted rows or more, and has 3"):
        RONI().select(replace(view, trusted=view.trusted.rows(slice(3))), fit, stage())


def test_accuracy_is_by_model() -> None:
    scores = torch.tensor([[[2.0, 0.0], [1.0, 3.0]], [[0.0, 0.0], [1.0, 3.0]]])
    assert accuracy(scores, torch.tensor([0, 1])).tolist() == [1.0, 0.5]


def test_what_it_cannot_retrain_is_refused_before_work() -> None:
    view, _ = planted()
    with pytest.raises(ConfigError, match=r"roni is for linear models\. Use --model lr or svm\."):
        RONI().select(replace(view, model=load("model", "nn")((1, 2, 3), 3, (0.5,), (0.25,))), fit, stage())
    with pytest.raises(ConfigError, match=r"roni follows gradient descent; set recipe\.optimizer=sgd"):
        RONI().select(replace(view, recipe=Recipe(optimizer="adam")), fit, stage())


@pytest.mark.parametrize("fields", [{"training": 0}, {"quiz": 0}, {"calibration": 0}, {"trials": 0}], ids=str)
def test_wrong_fields_are_refused(fields: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=rf"defense\.{next(iter(fields))}: expected"):
        RONI(**fields)
    with pytest.raises(ConfigError, match=r"defense\.deviations: expected"):
        RONI(deviations=float("nan"))
