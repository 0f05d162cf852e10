"""i-min-max: its linear maxima against scipy's, its points against the decoy's loss."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize
from torch import Tensor

from poisonbench.attacks.decoy import candidates
from poisonbench.attacks.interior_point import cross_entropy_at_most, hinge_at_most
from poisonbench.attacks.linear_scores import affine, differences
from poisonbench.attacks.min_max.decoy_search import DecoySearch
from poisonbench.attacks.min_max.feasible_set import Limits, box_limits, observed_limits
from poisonbench.attacks.min_max.improved import IMinMax
from poisonbench.attacks.min_max.low_loss import LowLoss
from poisonbench.attacks.min_max.low_loss_set import LowLossSet, constraints_of
from poisonbench.errors import ConfigError
from poisonbench.models.base import Model
from poisonbench.models.linear import LinearModel
from poisonbench.plugins.registry import load
from poisonbench.problem.budget import Budget
from poisonbench.problem.samples import Weights
from poisonbench.seeding import child_generator
from poisonbench.stages.stage import Stage
from poisonbench.testing import Game

f64 = torch.float64
SHAPE, D, CLASSES, TAU = (1, 3, 4), 12, 4, 0.25


def problem(name: str, seed: int, scale: float = 3.0) -> tuple[LowLoss, Weights]:
    """A decoy and a θ, both random and linear."""
    generator = torch.Generator().manual_seed(seed)
    model: Model = load("model", name)(SHAPE, CLASSES, (0.5,), (0.5,))

    def weights() -> Weights:
        return {
            "linear.weight": scale / D**0.5 * torch.randn((CLASSES, D), generator=generator, dtype=f64),
            "linear.bias": torch.randn(CLASSES, generator=generator, dtype=f64),
        }

    return LowLoss(model, weights(), TAU), weights()


def search(decoy: LowLoss, radius: float | None = None, limits: Limits | None = None) -> DecoySearch:
    budget = Budget(0.1, 100, CLASSES, IMinMax.threat, radius)
    x = torch.full((1, *SHAPE), 0.5, dtype=f64)
    return DecoySearch.about(decoy, x, budget, limits or box_limits(x), steps=30, rate=0.2, penalty=10.0)


def observed() -> Limits:
    """Ranges of every length up to 1, of which a third are points."""
    draws = torch.rand((2, *SHAPE), generator=torch.Generator().manual_seed(9), dtype=f64)
    low, high = draws.amin(0) ** 2, draws.amax(0) ** 0.5
    return low, torch.where(torch.arange(D).view(SHAPE) % 3 == 0, low, high)


def feasible_set(found: DecoySearch) -> LowLossSet:
    sources = len(found.inside)
    low, high = (part[::CLASSES].flatten(1)[:, None, None] for part in (found.low, found.high))
    return LowLossSet(found.decoy, low, high, found.start.view(sources, CLASSES, 1, D))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("radius", "limits"), [(None, None), (0.45, None), (None, observed())])
def test_linear_maxima_under_the_hinge_are_those_of_linprog(
    seed: int, radius: float | None, limits: Limits | None
) -> None:
    """1e-5 of the objective's range over the box is the method's tolerance; HiGHS is exact to 1e-7. Where HiGHS finds
    the set empty, there must be no start."""
    decoy, theta = problem("svm", seed)
    found = search(decoy, radius, limits)
    c = differences(affine(decoy.model, theta)[0])[None]
    x = feasible_set(found).maximum(c)[0]
    W, b = affine(decoy.model, decoy.weights)
    A, a = differences(W).numpy(), differences(b).numpy()
    low, high = found.low[0].flatten().numpy(), found.high[0].flatten().numpy()
    solved = 0
    for y, j in itertools.product(range(CLASSES), range(CLASSES - 1)):
        slope = c[0, y, j].numpy()
        exact = linprog(-slope, A_ub=A[y], b_ub=TAU - 1 - a[y], bounds=list(zip(low, high, strict=True)))
        if exact.status == 2:
            assert not bool(found.inside[0, y])
        elif bool(found.inside[0, y]):
            reach = float(np.abs(slope) @ (high - low))
            assert float(c[0, y, j] @ x[y, j]) == pytest.approx(-exact.fun, abs=2e-5 * reach)
            solved += 1
    assert solved >= CLASSES - 1


@pytest.mark.parametrize("seed", range(4))
def test_linear_maxima_under_cross_entropy_are_those_of_slsqp(seed: int) -> None:
    """As above; SLSQP stops at 1e-12 of the objective, which leaves some 1e-6 of it."""
    decoy, theta = problem("lr", seed)
    found = search(decoy)
    c = differences(affine(decoy.model, theta)[0])[None]
    x = feasible_set(found).maximum(c)[0]
    W, b = affine(decoy.model, decoy.weights)
    A, a = differences(W).numpy(), differences(b).numpy()
    assert int(found.inside.sum()) >= CLASSES - 1
    for y in torch.nonzero(found.inside[0]).flatten().tolist():
        slope = c[0, y, 0].numpy()

        def room(v: np.ndarray, y: int = y) -> float:
            return TAU - float(np.log1p(np.exp(A[y] @ v + a[y]).sum()))

        start = found.start.view(CLASSES, D)[y].numpy()
        exact = minimize(
            lambda v, slope=slope: -slope @ v,
            start,
            jac=lambda v, slope=slope: -slope,
            bounds=[(0, 1)] * D,
            constraints={"type": "ineq", "fun": room},
            options={"ftol": 1e-12, "maxiter": 300},
        )
        assert float(c[0, y, 0] @ x[y, 0]) == pytest.approx(-exact.fun, abs=2e-5 * float(np.abs(slope).sum()))


@pytest.mark.parametrize("seed", range(3))
def test_the_best_point_under_the_hinge_is_the_best_of_all_linear_programs(seed: int) -> None:
    decoy, theta = problem("svm", seed)
    found = search(decoy)
    x, y = found.best(theta)
    W, b = affine(decoy.model, decoy.weights)
    A, a = differences(W).numpy(), differences(b).numpy()
    V, e = (differences(part).numpy() for part in affine(decoy.model, theta))
    heights = []
    for label, j in itertools.product(range(CLASSES), range(CLASSES - 1)):
        if bool(found.inside[0, label]):
            exact = linprog(-V[label, j], A_ub=A[label], b_ub=TAU - 1 - a[label], bounds=[(0, 1)] * D)
            heights.append(1 + e[label, j] - exact.fun)
    height = float(decoy.model.losses(decoy.model.forward(theta, decoy.model.normalise(x)), y))
    assert height == pytest.approx(max(heights), rel=1e-4)


def test_the_constraints_are_the_losses() -> None:
    """g(u) ≤ 0 where ℓ ≤ τ, and g's derivatives by autograd, to rounding."""
    u = torch.randn((50, 3), generator=torch.Generator().manual_seed(0), dtype=f64) - 1
    logits = torch.cat([torch.zeros(50, 1, dtype=f64), u], dim=1)
    y, v = torch.zeros(50, dtype=torch.int64), torch.ones((50, 1), dtype=f64)
    for name, g in (("lr", cross_entropy_at_most(TAU)), ("svm", hinge_at_most(TAU))):
        model = load("model", name)(SHAPE, CLASSES, (0.5,), (0.5,))
        assert torch.equal((g(u, v)[0] <= 0).all(1), model.losses(logits, y) <= TAU)
    g = cross_entropy_at_most(TAU)
    _, J, H = g(u[0], torch.tensor([2.0], dtype=f64))
    assert torch.allclose(J, torch.autograd.functional.jacobian(lambda u: g(u, v[0])[0], u[0]))
    assert torch.allclose(H, 2 * torch.autograd.functional.hessian(lambda u: g(u, v[0])[0].squeeze(), u[0]))


def test_a_third_linear_loss_is_refused() -> None:
    class Squared(LinearModel):
        def losses(self, logits: Tensor, y: Tensor) -> Tensor:
            return (1 - logits.gather(1, y[:, None]).squeeze(1)).square()

    with pytest.raises(ConfigError, match="neither"):
        constraints_of(Squared(SHAPE, CLASSES, (0.5,), (0.5,)), TAU)


def test_pulling_back_stops_at_the_boundary() -> None:
    decoy, _ = problem("lr", 0)
    found = search(decoy)
    y = torch.nonzero(found.inside[0]).flatten()
    start = found.start[y]
    far = torch.rand((len(y), *SHAPE), generator=torch.Generator().manual_seed(1), dtype=f64)
    pulled = decoy.pull_back(far, y, start)
    loss, moved = decoy.losses(pulled, y), (pulled != far).flatten(1).any(1)
    assert bool((loss <= TAU).all())
    assert bool(moved.any())
    assert float(loss[moved].min()) > TAU - 1e-4  # 20 bisections of a segment on which the loss rises by about 1
    assert torch.equal(decoy.pull_back(start, y, far), start)


@pytest.mark.parametrize("radius", [None, 0.15])
@pytest.mark.parametrize("model", ["lr", "svm", "nn"])
def test_the_decoy_finds_every_point_easy(model: str, radius: float | None) -> None:
    """1e-6: τ, and float32 sums over 16 pixels of a point that was pulled back onto it."""
    small = Game(model=model, radius=radius)
    attack = IMinMax(steps=4, quantiles=(0.5,), repetitions=(1, 4), decoy_epochs=20, ascent_steps=5, tau=1.0)
    view, budget = small.attacker(attack.threat), small.budget(attack.threat)
    poison = attack.craft(view, budget, Stage(child_generator(0, "attack")))
    assert len(poison) == budget.n_poison
    assert float(poison.stats["decoy_poison_loss"]) <= 1.0 + 1e-6


@pytest.mark.parametrize(("model", "radius"), [("lr", None), ("svm", 0.15), ("nn", None)])
def test_observed_pixels_keep_to_what_is_seen(model: str, radius: float | None) -> None:
    """As for min-max; every fourth pixel is the same in all images."""
    small = Game(model=model, radius=radius)
    attack = IMinMax(
        steps=4, quantiles=(0.5,), repetitions=(1, 4), decoy_epochs=20, ascent_steps=5, tau=1.0, pixels="observed"
    )
    seen = small.attacker(attack.threat)
    still = torch.arange(16).view(1, 4, 4) % 4 == 0
    view = replace(
        seen,
        train=replace(seen.train, x=seen.train.x.masked_fill(still, 0.25)),
        validation=replace(seen.validation, x=seen.validation.x.masked_fill(still, 0.25)),
    )
    poison = attack.craft(view, small.budget(attack.threat), Stage(child_generator(0, "attack")))
    low, high = observed_limits(view.train, view.validation)
    # float32: a point between two others is rounded.
    assert bool(((low - 1e-6 <= poison.x) & (poison.x <= high + 1e-6)).all())
    assert bool((poison.x[:, still] == 0.25).all())
    assert float(poison.stats["decoy_poison_loss"]) <= 1.0 + 1e-6


def test_the_released_preset_has_the_released_grid() -> None:
    """Of 72 decoys each on the front is attacked with; here two, for time."""
    preset = IMinMax.presets["released"]
    assert preset["trials"] == len(preset["quantiles"]) * len(preset["repetitions"]) == 72
    small = Game(model="svm")
    attack = IMinMax(**{**preset, "quantiles": (0.25,), "repetitions": (1, 8), "tau": 2.8})
    view = small.attacker(attack.threat)
    poison = attack.craft(view, small.budget(attack.threat), Stage(child_generator(0, "attack")))
    assert torch.equal(poison.x[0::2], poison.x[1::2])


def test_sources_are_the_rows_that_the_decoy_finds_easy() -> None:
    """τ is the decoy's median loss on D_tr, so that half of the rows are easy, and not the first ones."""
    small, fields = Game(radius=0.001), {"quantiles": (0.5,), "repetitions": (4,), "decoy_epochs": 20}
    view, budget = small.attacker(IMinMax.threat), small.budget(IMinMax.threat)
    (decoy,) = candidates(view, (0.5,), (4,), 20, Stage(child_generator(0, "attack")))
    losses = view.model.losses(view.model.predict(decoy.weights, view.train.x), view.train.y)
    tau = float(losses.median())
    easy = torch.nonzero(losses <= tau).flatten()[: budget.n_poison]
    assert not torch.equal(easy, torch.arange(budget.n_poison))
    poison = IMinMax(steps=2, trials=1, tau=tau, **fields).craft(view, budget, Stage(child_generator(0, "attack")))
    assert torch.equal(poison.source, easy)
    assert float(poison.stats["decoy_poison_loss"]) <= tau + 1e-6


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"tau": 0.0}, r"attack\.tau: expected a number > 0, got 0"),
        ({"ascent_rate": math.nan}, r"attack\.ascent_rate"),
        ({"penalty": -1.0}, r"attack\.penalty"),
        ({"decoy_epochs": -1}, r"attack\.decoy_epochs"),
        ({"trials": 0}, r"attack\.trials"),
        ({"ascent_steps": 0}, r"attack\.ascent_steps"),
        ({"quantiles": ()}, r"attack\.quantiles"),
        ({"quantiles": (0.5, 1.5)}, r"attack\.quantiles"),
        ({"repetitions": (0,)}, r"attack\.repetitions"),
        ({"steps": -1}, r"attack\.steps"),
    ],
)
def test_fields_out_of_range_are_refused(fields: dict[str, object], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        IMinMax(**fields)
