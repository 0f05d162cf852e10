"""TGDA's step against the dense formula, and against what it is for: a higher retrained validation loss."""

import math

import pytest
import torch
from torch import Tensor

from poisonbench.attacks.leader import ConvolutionalLeader, DenseLeader, Leader, leader_for
from poisonbench.attacks.tgda import TGDA, total_gradient
from poisonbench.bilevel.hvp import flatten, unflatten
from poisonbench.bilevel.solvers import solver
from poisonbench.errors import ConfigError
from poisonbench.models.base import Model, n_params
from poisonbench.registry import load
from poisonbench.seeding import child_generator
from poisonbench.stage import Stage
from poisonbench.testing import Game
from poisonbench.types import Samples, Weights

SHAPE, CLASSES, DAMPING = (1, 2, 2), 3, 0.1
f64 = torch.float64


class ToyLeader(DenseLeader):
    """The dense leader in float64."""

    def inputs(self, samples: Samples) -> Tensor:
        return super().inputs(samples).double()


def toy(model_name: str) -> tuple[Model, Weights, Leader, Weights, Samples, Samples, Samples]:
    """Model, w, leader, θ, clean batch (normalised), poison start, held-out batch (normalised)."""
    generator = torch.Generator().manual_seed(0)
    model: Model = load("model", model_name)(SHAPE, CLASSES, (0.5,), (0.5,))
    leader = ToyLeader(SHAPE, CLASSES)
    w = {name: value.double().requires_grad_() for name, value in model.init(generator).items()}
    theta = {name: value.double().requires_grad_() for name, value in leader.init(generator).items()}

    def rows(n: int, normalised: bool) -> Samples:
        x = torch.rand((n, *SHAPE), generator=generator, dtype=f64)
        return Samples(model.normalise(x) if normalised else x, torch.arange(n) % CLASSES, torch.arange(n))

    return model, w, leader, theta, rows(10, True), rows(3, False), rows(8, True)


@pytest.mark.parametrize("name", ["lr", "nn"])
def test_total_gradient_is_the_dense_formula(name: str) -> None:
    """−Jᵀ (H + λI)⁻¹ ∇ℓ, J = ∇_θ∇_w f and H = ∇²_ww f as whole matrices by autograd.functional. Both are direct: 1e-10
    is κ(H + λI) ≤ 1e3 times rounding, with a margin."""
    model, w, leader, theta, clean, start, held_out = toy(name)
    parameters, upper = model.parameters(w), dict(theta)
    names, like = list(parameters), list(parameters.values())
    y = torch.cat([clean.y, start.y])
    inputs = leader.inputs(start)

    def lower(w_flat: Tensor, theta_flat: Tensor) -> Tensor:
        weights = dict(zip(names, unflatten(w_flat, like), strict=True))
        made = leader.images(dict(zip(upper, unflatten(theta_flat, list(upper.values())), strict=True)), inputs)
        z = torch.cat([clean.x, model.normalise(made)])
        return model.loss(model.forward(weights, z, training=True), y)

    w_flat, theta_flat = flatten([part.detach() for part in like]), flatten([part.detach() for part in upper.values()])
    _, outer = model.gradient(w, held_out.x, held_out.y)
    blocks = torch.autograd.functional.hessian(lower, (w_flat, theta_flat))
    H, J = blocks[0][0], blocks[0][1]
    lifted = H + DAMPING * torch.eye(len(H), dtype=f64)
    expected = -J.T @ torch.linalg.solve(lifted, flatten(outer))

    z_poison = model.normalise(leader.images(theta, inputs))
    z = torch.cat([clean.x, z_poison.detach()])
    solve = solver("exact", DAMPING, 0, 1e-8)
    found, solution = total_gradient(model, w, theta, z, y, z_poison, flatten(outer), solve)
    assert [part.shape for part in found] == [part.shape for part in theta.values()]
    assert float((flatten(found) - expected).norm() / expected.norm()) < 1e-10
    assert solution.products == len(w_flat)


def test_steps_of_ascent_raise_the_retrained_validation_loss() -> None:
    """Softmax regression, ½λ‖w‖² regularised so that retraining has one answer; Newton's method finds it to 1e-12. The
    total derivative at w*(θ) is exact there (the damping λ is the regulariser's Hessian), so small steps must go up."""
    model, w, leader, theta, clean, start, held_out = toy("lr")
    parameters = model.parameters(w)
    like = list(parameters.values())
    y, inputs = torch.cat([clean.y, start.y]), leader.inputs(start)

    def loss(flat: Tensor, z: Tensor, y: Tensor) -> Tensor:
        return model.loss(model.forward(dict(zip(parameters, unflatten(flat, like), strict=True)), z), y)

    def retrain(z: Tensor) -> Tensor:
        flat = flatten([part.detach() for part in like])
        for _ in range(10):

            def regularised(v: Tensor) -> Tensor:
                return loss(v, z, y) + DAMPING * v.square().sum() / 2

            slope = torch.autograd.functional.jacobian(regularised, flat)
            flat = flat - torch.linalg.solve(torch.autograd.functional.hessian(regularised, flat), slope)
        assert slope.norm() < 1e-12
        return flat

    heights: list[float] = []
    promised = math.nan
    for _ in range(6):
        z_poison = model.normalise(leader.images(theta, inputs))
        z = torch.cat([clean.x, z_poison.detach()])
        flat = retrain(z)
        heights.append(float(loss(flat, held_out.x, held_out.y)))
        weights = {name: part.requires_grad_() for name, part in zip(parameters, unflatten(flat, like), strict=True)}
        _, outer = model.gradient(weights, held_out.x, held_out.y)
        ascent, _ = total_gradient(
            model, weights, theta, z, y, z_poison, flatten(outer), solver("cg", DAMPING, 50, 1e-10)
        )
        squared = float(flatten(ascent).square().sum())
        theta = {
            name: (part + 0.5 * up).detach().requires_grad_()
            for (name, part), up in zip(theta.items(), ascent, strict=True)
        }
        if len(heights) > 1:
            # First order: a step s along the gradient g gains s‖g‖²; half of it allows for curvature.
            assert heights[-1] - heights[-2] > 0.25 * promised
        promised = 0.5 * squared
    assert heights == sorted(heights)


def test_labels_are_the_sources_and_the_poison_is_made_from_the_first_rows() -> None:
    game, attack = Game(), TGDA(epochs=1, pretrain_epochs=1, n=1)
    view, budget = game.attacker(attack.threat), game.budget(attack.threat)
    poison = attack.craft(view, budget, Stage(child_generator(0, "attack")))
    assert torch.equal(poison.source, torch.arange(budget.n_poison))
    assert torch.equal(poison.y, view.train.y[: budget.n_poison])
    assert {"solver_steps", "solver_residual", "solver_converged"} <= poison.stats.keys()


def test_pretraining_makes_an_autoencoder() -> None:
    game = Game()
    errors = []
    for epochs in (0, 60):
        attack = TGDA(epochs=1, n=0, alpha=1e-12, pretrain_epochs=epochs, pretrain_lr=0.01)
        view = game.attacker(attack.threat)
        poison = attack.craft(view, game.budget(attack.threat), Stage(child_generator(0, "attack")))
        errors.append(float((poison.x - view.train.x[poison.source]).square().mean()))
    assert errors[1] < errors[0] / 2


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"solver": "gmres"}, "attack.solver"),
        ({"m": 0}, r"attack\.m: expected an integer ≥ 1, got 0"),
        ({"n": -1}, r"attack\.n"),
        ({"epochs": 0}, r"attack\.epochs"),
        ({"alpha": 0.0}, r"attack\.alpha"),
        ({"beta": math.inf}, r"attack\.beta"),
        ({"damping": -0.1}, r"attack\.damping"),
    ],
)
def test_fields_out_of_range_are_refused(fields: dict[str, object], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        TGDA(**fields)


def samples(shape: tuple[int, int, int], n: int = 5) -> Samples:
    x = torch.rand((n, *shape), generator=torch.Generator().manual_seed(0))
    return Samples(x, torch.arange(n) % 3, torch.arange(n))


@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 8, 8), (1, 3, 5), (3, 32, 32), (3, 8, 16)])
def test_a_leader_makes_images_inside_the_box(shape: tuple[int, int, int]) -> None:
    leader = leader_for(shape, 3)
    theta = {name: 20 * value for name, value in leader.init(child_generator(0, "leader")).items()}  # saturates tanh
    made = leader.images(theta, leader.inputs(samples(shape)))
    assert made.shape == (5, *shape)
    assert 0 <= float(made.min()) < 0.1
    assert 0.9 < float(made.max()) <= 1


@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 8, 8)])
def test_the_label_is_an_input(shape: tuple[int, int, int]) -> None:
    leader, rows = leader_for(shape, 3), samples(shape)
    theta = leader.init(child_generator(0, "leader"))
    other = Samples(rows.x, (rows.y + 1) % 3, rows.ids)
    first, second = (leader.images(theta, leader.inputs(part)) for part in (rows, other))
    assert bool(((first - second).abs().flatten(1).max(1).values > 0).all())


def test_the_papers_leader_for_mnist() -> None:
    leader = leader_for((1, 28, 28), 10)
    theta = leader.init(child_generator(0, "leader"))
    assert isinstance(leader, DenseLeader)
    assert [tuple(theta[f"layer{k}.weight"].shape) for k in (1, 2, 3)] == [(784, 785), (784, 784), (784, 784)]
    assert n_params(theta) == 785 * 784 + 2 * 784 * 784 + 3 * 784


def test_the_papers_leader_for_cifar() -> None:
    """Three convolutions 4-12-24-48 and three transposed ones 48-24-12-3, all 4×4."""
    leader = leader_for((3, 32, 32), 10)
    assert isinstance(leader, ConvolutionalLeader)
    weights = 16 * (4 * 12 + 12 * 24 + 24 * 48 + 48 * 24 + 24 * 12 + 12 * 3)
    assert n_params(leader.init(child_generator(0, "leader"))) == weights + (12 + 24 + 48) + (24 + 12 + 3)
