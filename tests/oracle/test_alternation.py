"""Selection by alternation against brute force over all subsets, planted labels, and a plain loop."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import expit
from torch import Tensor

from poisonbench.defenses.alternation import Alternation, Fit
from poisonbench.defenses.base import Scores
from poisonbench.defenses.composed import Composed
from poisonbench.defenses.loss import LossDefense
from poisonbench.defenses.quotas import Quotas
from poisonbench.defenses.trim import Trim
from poisonbench.defenses.trimmed_loss import TrimmedLoss
from poisonbench.errors import ConfigError, ValidationError
from poisonbench.models.base import Model
from poisonbench.plugins.registry import load, register
from poisonbench.problem.procedure import Procedure
from poisonbench.problem.recipe import Recipe
from poisonbench.problem.samples import Samples, Weights
from poisonbench.problem.views import DefenderView, Train
from poisonbench.seeding import child_generator
from poisonbench.stages.stage import Stage
from poisonbench.training import train

Array = np.ndarray
RECIPE = Recipe(lr=0.5, batch_size=1000, epochs=60)


def stage() -> Stage:
    return Stage(child_generator(0, "defense"))


def view_of(x: Tensor, y: Tensor, model: str = "lr") -> DefenderView:
    """Rows of d pixels, (n, d), as images."""
    target: Model = load("model", model)((1, 1, x.shape[1]), int(y.max()) + 1, (0.5,), (0.25,))
    rows = Samples(x[:, None, None], y, torch.arange(len(y)))
    return DefenderView(rows, rows.none(), target, RECIPE, target.classes)


def fitter(view: DefenderView) -> Train:
    def fit(samples: Samples, procedure: Procedure | None = None) -> Weights:
        return train(view.model, samples, view.recipe, Stage(child_generator(0, "train")), "fit", procedure)

    return fit


def planted(seed: int, n: int = 100, flips: int = 10) -> tuple[DefenderView, Tensor]:
    """Two classes that overlap little, `flips` labels of them wrong: and which rows are right."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 2
    x = 0.5 + 0.1 * torch.randn((n, 4), generator=generator) + 0.15 * (2 * y - 1)[:, None]
    wrong = torch.randperm(n, generator=generator)[:flips]
    right = torch.ones(n, dtype=torch.bool)
    right[wrong] = False
    return view_of(x, torch.where(right, y, 1 - y)), right


@register("location")
@dataclass(frozen=True)
class Location(Alternation):
    """Fits the mean pixel of the kept rows, by squared error: least trimmed squares by concentration steps."""

    def first(self, view: DefenderView, quotas: Quotas, stage: Stage) -> Tensor:
        return torch.ones(len(view.train), dtype=torch.bool)

    def fit(self, view: DefenderView, train: Train, stage: Stage) -> Fit:
        x = view.train.x.flatten()
        return lambda kept: Scores((x - x[kept].mean()).square())


@pytest.mark.parametrize("seed", range(5))
def test_it_reaches_the_best_of_all_subsets(seed: int) -> None:
    """Seven values near 0.3 and three off to the right: of the 120 subsets of seven, the one of least squares."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.cat([0.3 + 0.05 * torch.rand(7, generator=generator), 0.6 + 0.3 * torch.rand(3, generator=generator)])
    x = x[torch.randperm(10, generator=generator)].double()
    subsets = [torch.tensor(part) for part in itertools.combinations(range(10), 7)]
    best = min(subsets, key=lambda part: float((x[part] - x[part].mean()).square().sum()))
    view = view_of(x[:, None], torch.zeros(10, dtype=torch.int64))
    found = Location(fraction=0.3).select(view, fitter(view), stage())
    assert torch.nonzero(found.kept).flatten().tolist() == best.tolist()
    assert found.stats["settled"]
    assert torch.equal(found.scores, (x - x[best].mean()).square())


def test_a_round_chooses_out_of_all_rows() -> None:
    """The mean of all is 0.5, so 0.05 goes first, and comes back once two of the high ones have gone; taking from what
    is left, as a filter does, would lose it."""
    x = torch.tensor([0.05, 0.3, 0.32, 0.34, 0.33, 0.31, 0.95, 0.96, 0.94])
    view = view_of(x[:, None], torch.zeros(9, dtype=torch.int64))
    kept = [Location(fraction=1 / 3, rounds=r).select(view, fitter(view), stage()).kept for r in (1, 2, 3)]
    assert [bool(part[0]) for part in kept] == [False, True, True]
    assert kept[1].tolist() == [True] * 6 + [False] * 3


@pytest.mark.parametrize("name", ["lr", "svm"])
def test_trimmed_loss_finds_planted_labels(name: str) -> None:
    view, right = planted(0)
    model = load("model", name)(view.model.shape, 2, (0.5,), (0.25,))
    view = replace(view, model=model)
    found = TrimmedLoss(fraction=0.1).select(view, fitter(view), stage())
    assert torch.equal(found.kept, right)
    assert found.stats == {"rounds": found.stats["rounds"], "settled": True}


def test_trimmed_loss_is_a_plain_loop_of_trainings() -> None:
    view, _ = planted(5, n=60, flips=20)
    fit, rows = fitter(view), view.train
    kept = torch.arange(60)
    trajectory = []
    for _ in range(3):
        weights = fit(Samples(rows.x[kept.sort().values], rows.y[kept.sort().values], kept))
        losses = [
            float(view.model.losses(view.model.predict(weights, rows.x[i : i + 1]), rows.y[i : i + 1]))
            for i in range(60)
        ]
        kept = torch.tensor(sorted(range(60), key=lambda i: losses[i])[:42])
        trajectory.append(sorted(kept.tolist()))
    found = [TrimmedLoss(fraction=0.3, rounds=r).defend(view, fit, stage()) for r in (1, 2, 3)]
    assert [torch.nonzero(part.kept).flatten().tolist() for part in found] == trajectory
    assert trajectory[0] != trajectory[1]
    last = fit(rows.rows(found[2].kept))
    assert isinstance(found[2].predictor, dict)
    assert all(torch.equal(found[2].predictor[name], last[name]) for name in last)
    assert torch.equal(LossDefense(fraction=0.3).select(view, fit, stage()).kept, found[0].kept)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["lr", "svm"])
def test_trim_reaches_the_best_of_all_subsets(name: str, seed: int) -> None:
    """Two of ten labels are wrong: of the 45 subsets of eight, the one whose minimiser, found by another program, has
    the least risk."""
    view, _ = planted(seed, n=10, flips=2)
    view = replace(view, model=load("model", name)(view.model.shape, 2, (0.5,), (0.25,)))
    view = replace(view, train=replace(view.train, x=view.train.x.double()))
    defense = Trim(fraction=0.2, decay=0.05, tolerance=1e-8, temperature=0.2)
    found = defense.select(view, fitter(view), stage())
    z = np.append(view.model.normalise(view.train.x).numpy(), np.ones((10, 1)), 1)
    z *= 1 - 2 * view.train.y.numpy()[:, None]

    def gaps(apart: Array, rows: Array) -> Array:
        """Of two classes' weights that are ± apart / 2, as a minimiser's are."""
        return -z[rows] @ apart if name == "lr" else (1 - z[rows] @ apart) / 0.2

    def losses(apart: Array, rows: Array) -> Array:
        return np.logaddexp(0, gaps(apart, rows)) * (1 if name == "lr" else 0.2)

    def risk(apart: Array, rows: Array) -> tuple[float, Array]:
        """And its gradient."""
        slope = -(expit(gaps(apart, rows)) @ z[rows]) / len(rows) + 0.025 * apart
        return float(losses(apart, rows).mean() + 0.0125 * apart @ apart), slope

    every = {
        part: minimize(risk, np.zeros(5), (np.array(part),), jac=True, tol=1e-9)
        for part in itertools.combinations(range(10), 8)
    }
    best = min(every, key=lambda part: float(every[part].fun))
    assert tuple(torch.nonzero(found.kept).flatten().tolist()) == best
    # What ranks the rows is what is minimised: for svm the smooth bound, not the hinge, which is 0 beyond the margin.
    np.testing.assert_allclose(found.scores, losses(every[best].x, np.arange(10)), atol=1e-3)
    assert found.stats["settled"]
    assert isinstance(left := found.stats["gradient"], float)
    assert left < 1e-8


@pytest.mark.parametrize("name", ["lr", "svm"])
def test_trim_finds_planted_labels_from_any_start(name: str) -> None:
    view, right = planted(3)
    view = replace(view, model=load("model", name)(view.model.shape, 2, (0.5,), (0.25,)))
    starts = []
    for seed in range(3):
        own = Stage(child_generator(seed, "defense"))
        starts.append(Trim(fraction=0.1).first(view, Quotas.of(0.1, view.train.y, False), own))
        found = Trim(fraction=0.1).select(view, fitter(view), Stage(child_generator(seed, "defense")))
        assert torch.equal(found.kept, right)
    assert not torch.equal(starts[0], starts[1])
    assert {int(start.sum()) for start in starts} == {90}


def test_the_decay_of_trim_is_that_of_the_recipe() -> None:
    """Weight decay and one over the sum of learning rates, which momentum of 0.9 makes ten times as long; 100 rows are
    one batch."""
    view, _ = planted(2)
    view = replace(view, recipe=replace(RECIPE, epochs=20, momentum=0.9, weight_decay=0.01))
    decays = (None, 0.01 + 0.1 / (20 * 0.5), 0.01 + 1 / (20 * 0.5), 0.1 / (20 * 0.5))
    trims = [Trim(fraction=0.1, decay=decay, rounds=1) for decay in decays]
    own, *others = (trim.select(view, fitter(view), stage()).scores for trim in trims)
    assert [torch.allclose(own, other, atol=1e-3) for other in others] == [True, False, False]


def test_trim_is_for_linear_models() -> None:
    view, _ = planted(0)

    def refuse(samples: Samples, procedure: Procedure | None = None) -> Weights:
        raise AssertionError("a training began")

    with pytest.raises(ConfigError, match=r"trim is for convex models, one linear layer\. Use --model lr or svm\."):
        Trim().defend(replace(view, model=load("model", "nn")((1, 1, 4), 2, (0.5,), (0.25,))), refuse, stage())


def test_it_takes_its_place_among_filters() -> None:
    view, _ = planted(1)
    fit = fitter(view)
    first = LossDefense(fraction=0.05).select(view, fit, stage())
    second = TrimmedLoss(fraction=0.1).select(view.rows(torch.nonzero(first.kept).flatten()), fit, stage())
    both = Composed((LossDefense(fraction=0.05), TrimmedLoss(fraction=0.1))).defend(view, fit, stage())
    assert int(both.kept.sum()) == 95 - 9
    assert torch.equal(both.kept[first.kept], second.kept)
    assert both.stats["trimmed-loss.rounds"] == second.stats["rounds"]
    other = Composed((TrimmedLoss(fraction=0.1), LossDefense(fraction=0.05))).defend(view, fit, stage())
    assert int(other.kept.sum()) == 90 - 4


def test_quotas_are_of_all_rows_or_of_each_class() -> None:
    y = torch.where(torch.arange(100) < 20, 0, 1)
    for balanced, expected in ((True, [18, 72]), (False, [10, 80])):
        quotas = Quotas.of(0.1, y, balanced)
        left = quotas.left(-torch.arange(100.0), y)  # the first rows are the worst
        assert [int((left & (y == label)).sum()) for label in (0, 1)] == expected


def test_a_class_that_is_lost_is_refused() -> None:
    x = torch.tensor([0.1, 0.2, 0.15, 0.12, 0.9, 0.8])
    view = view_of(x[:, None], (x > 0.5).long())
    with pytest.raises(ValidationError, match=r"location removed every row of class 1.*defense\.balanced=true"):
        Location(fraction=0.4).select(view, fitter(view), stage())
    assert int(Location(fraction=0.4, balanced=True).select(view, fitter(view), stage()).kept.sum()) == 6 - 1


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("trimmed-loss", {"fraction": 1.0}),
        ("trimmed-loss", {"rounds": 0}),
        ("trim", {"decay": 0.0}),
        ("trim", {"tolerance": float("nan")}),
        ("trim", {"max_steps": 0}),
        ("trim", {"temperature": 0.0}),
    ],
)
def test_wrong_fields_are_refused(name: str, fields: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=rf"defense\.{next(iter(fields))}: expected"):
        load("defense", name)(**fields)
