"""TGDA's step against the dense formula, and against what it is for: a higher retrained validation loss."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from poisonbench.attacks.augmented import one_augmentation
from poisonbench.attacks.tgda.attack import TGDA
from poisonbench.attacks.tgda.batches import Batch, Batches
from poisonbench.attacks.tgda.follower import Follower
from poisonbench.attacks.tgda.game import Stackelberg, total_gradient
from poisonbench.attacks.tgda.health import Health
from poisonbench.attacks.tgda.leader import ConvolutionalLeader, DenseLeader, Leader, leader_for
from poisonbench.attacks.tgda.past import Past
from poisonbench.augmentation import flipped_and_cropped
from poisonbench.bilevel.hvp import flatten, unflatten
from poisonbench.bilevel.solvers import solver
from poisonbench.errors import ConfigError
from poisonbench.identity.tensors import tensor_hash
from poisonbench.models.base import Model, n_params
from poisonbench.models.nn import NeuralNetwork
from poisonbench.plugins.registry import load
from poisonbench.problem.budget import Budget
from poisonbench.problem.recipe import Recipe
from poisonbench.problem.samples import Samples, Weights
from poisonbench.problem.threat import Mode, ThreatModel
from poisonbench.seeding import child_generator
from poisonbench.stages.stage import Stage
from poisonbench.testing import Game

T = TypeVar("T")
SHAPE, CLASSES, DAMPING = (1, 2, 2), 3, 0.1
f64 = torch.float64


class ToyLeader(DenseLeader):
    """The dense leader in float64."""

    def inputs(self, samples: Samples) -> Tensor:
        return super().inputs(samples).double()


class BatchNormed(NeuralNetwork):
    """The fully connected network whose last layer is handed batch-normalised activations."""

    buffers = frozenset({"mean", "variance"})

    def init(self, generator: torch.Generator) -> Weights:
        """See Model."""
        width = math.prod(self.shape)
        return {**super().init(generator), "mean": torch.zeros(width), "variance": torch.ones(width)}

    def forward(self, weights: Weights, z: Tensor, training: bool = False) -> Tensor:
        """See Model."""
        hidden = F.batch_norm(self.features(weights, z), weights["mean"], weights["variance"], training=training)
        return F.linear(hidden, weights["output.weight"], weights["output.bias"])


def toy(model_name: str) -> tuple[Model, Weights, Leader, Weights, Samples, Samples, Samples]:
    """Model, w, leader, θ, clean batch (normalised), poison start, held-out batch (normalised)."""
    generator = torch.Generator().manual_seed(0)
    kind: type[Model] = BatchNormed if model_name == "batch-normed" else load("model", model_name)
    model = kind(SHAPE, CLASSES, (0.5,), (0.5,))
    leader = ToyLeader(SHAPE, CLASSES)
    drawn = {name: value.double() for name, value in model.init(generator).items()}
    w = {name: value.requires_grad_(name not in model.buffers) for name, value in drawn.items()}
    theta = {name: value.double().requires_grad_() for name, value in leader.init(generator).items()}

    def rows(n: int, normalised: bool) -> Samples:
        x = torch.rand((n, *SHAPE), generator=generator, dtype=f64)
        return Samples(model.normalise(x) if normalised else x, torch.arange(n) % CLASSES, torch.arange(n))

    return model, w, leader, theta, rows(10, True), rows(3, False), rows(8, True)


def stream(seed: int) -> torch.Generator:
    """A stream of that seed."""
    return torch.Generator().manual_seed(seed)


def dense_ascent(
    lower: Callable[[Tensor, Tensor], Tensor], w: Tensor, theta: Tensor, outer: Tensor, zero_sum: bool
) -> Tensor:
    """∇_θ ℓ − Jᵀ (H + λI)⁻¹ ∇_w ℓ of f(w, θ), with whole matrices; ∇_θ ℓ is 0 unless ℓ = f."""
    (H, J), _ = torch.autograd.functional.hessian(lower, (w, theta))
    ascent = -J.T @ torch.linalg.solve(H + DAMPING * torch.eye(len(H), dtype=f64), outer)
    if zero_sum:
        ascent = ascent + torch.autograd.functional.jacobian(lambda t: lower(w, t), theta)
    return ascent


@pytest.mark.parametrize("name", ["lr", "nn", "batch-normed"])
@pytest.mark.parametrize("zero_sum", [False, True])
def test_total_gradient_is_the_dense_formula(name: str, zero_sum: bool) -> None:
    """∇_θ ℓ − Jᵀ (H + λI)⁻¹ ∇_w ℓ, J = ∇_θ∇_w f and H = ∇²_ww f as whole matrices by autograd.functional. Both are
    direct: 1e-10 is κ(H + λI) ≤ 1e3 times rounding, with a margin. Batch statistics are those of the whole batch."""
    model, w, leader, theta, clean, start, held_out = toy(name)
    parameters, upper = model.parameters(w), dict(theta)
    names, like = list(parameters), list(parameters.values())
    y = torch.cat([clean.y, start.y])
    inputs = leader.inputs(start)

    def lower(w_flat: Tensor, theta_flat: Tensor) -> Tensor:
        weights = w | dict(zip(names, unflatten(w_flat, like), strict=True))
        made = leader.images(dict(zip(upper, unflatten(theta_flat, list(upper.values())), strict=True)), inputs)
        z = torch.cat([clean.x, model.normalise(made)])
        return model.loss(model.forward(weights, z, training=True), y)

    w_flat, theta_flat = flatten([part.detach() for part in like]), flatten([part.detach() for part in upper.values()])
    at = torch.cat([clean.x, model.normalise(leader.images(theta, inputs)).detach()])
    _, outer = model.gradient(w, at, y) if zero_sum else model.gradient(w, held_out.x, held_out.y)
    expected = dense_ascent(lower, w_flat, theta_flat, flatten(outer), zero_sum)
    z_poison = model.normalise(leader.images(theta, inputs))
    z = torch.cat([clean.x, z_poison.detach()])
    solve = solver("exact", DAMPING, 0, 1e-8)
    batch = Batch(z, y, inputs, start.x, held_out.x, held_out.y)
    along, solution = total_gradient(model, w, batch, model.hessian(w, z, y), flatten(outer), solve, zero_sum)
    found = torch.autograd.grad(z_poison, list(theta.values()), along)
    assert [part.shape for part in found] == [part.shape for part in theta.values()]
    assert float((flatten(found) - expected).norm() / expected.norm()) < 1e-10
    assert solution.products == len(w_flat)


@pytest.mark.parametrize("name", ["lr", "nn", "batch-normed"])
@pytest.mark.parametrize("zero_sum", [False, True])
def test_a_step_goes_back_through_the_recipes_augmentation(name: str, zero_sum: bool) -> None:
    """θ + α times the dense formula above, where f moves and mirrors L's images by one draw, which the step must use
    twice: for ∇²f and for L. 1e-10 as above."""
    model, w, leader, theta, clean, start, held_out = toy(name)
    parameters, like, upper = model.parameters(w), list(model.parameters(w).values()), list(theta.values())
    y, inputs = torch.cat([clean.y, start.y]), leader.inputs(start)
    seed = int(torch.randint(2**63 - 1, (), generator=stream(3)))
    augment = one_augmentation(Recipe(augmentation="flips-and-crops"), stream(3))

    def lower(w_flat: Tensor, theta_flat: Tensor) -> Tensor:
        made = leader.images(dict(zip(theta, unflatten(theta_flat, upper), strict=True)), inputs)
        z = torch.cat([clean.x, model.normalise(flipped_and_cropped(made, stream(seed)))])
        weights = w | dict(zip(parameters, unflatten(w_flat, like), strict=True))
        return model.loss(model.forward(weights, z, training=True), y)

    w_flat, before = flatten([part.detach() for part in like]), flatten([part.detach().clone() for part in upper])
    plain = leader.images(theta, inputs).detach()
    made = flipped_and_cropped(plain, stream(seed))
    assert float((made - plain).abs().max()) > 0.1
    z = torch.cat([clean.x, model.normalise(made)])
    _, outer = model.gradient(w, z, y) if zero_sum else model.gradient(w, held_out.x, held_out.y)
    expected = 0.1 * dense_ascent(lower, w_flat, before, flatten(outer), zero_sum)
    batch = Batch(torch.zeros_like(z), y, inputs, start.x, held_out.x, held_out.y, augment)
    batch.z[: len(clean)] = clean.x
    solve = solver("exact", DAMPING, 0, 1e-8)
    budget = Budget(0.3, 10, CLASSES, ThreatModel())
    game = Stackelberg(model, leader, budget, "hessian", solve, 0.1, None, 0.0, zero_sum, False)
    game.lead(theta, w, batch, nothing(parameters))
    moved = flatten([part.detach() for part in upper]) - before
    assert float((moved - expected).norm() / expected.norm()) < 1e-10
    game.show(theta, batch)
    shown = model.normalise(flipped_and_cropped(leader.images(theta, inputs).detach(), stream(seed)))
    assert torch.equal(batch.poison_z, shown)


def test_batches_are_augmented_with_draws_of_their_own() -> None:
    """D_tr's rows by the first draw of the stream, D_p's images by the next, again and again; D_v stays as it is. A
    recipe without augmentation draws nothing."""
    game = Game()
    plain = game.attacker(TGDA().threat)
    for augmentation in ("none", "flips-and-crops"):
        view = replace(plain, recipe=replace(plain.recipe, augmentation=augmentation))
        start = view.train.rows(slice(0, 9))
        batches = Batches.of(view, start, start.x, 20, replaced=False)
        orders = {name: torch.arange(n).flip(0) for name, n in batches.rows.items()}
        draws, again = stream(7), stream(7)
        batch, other = batches.at(orders, 1, draws), batches.at(orders, 1, draws)
        x, made = view.train.x[orders["order/train"][20:40]], torch.rand(3, 1, 4, 4, generator=stream(0))
        assert torch.equal(batch.held_out_z, view.model.normalise(view.validation.x[orders["order/validation"][20:40]]))
        if augmentation == "none":
            assert torch.equal(draws.get_state(), again.get_state())
            assert torch.equal(batch.augment(made), made)
            continue
        assert torch.equal(batch.z[:20], view.model.normalise(flipped_and_cropped(x, again)))
        assert not torch.equal(batch.z[:20], other.z[:20])
        expected = flipped_and_cropped(made, stream(int(torch.randint(2**63 - 1, (), generator=again))))
        assert torch.equal(batch.augment(made), expected)
        assert torch.equal(batch.augment(made), expected)


@pytest.mark.parametrize("shortened", [1.0, 0.05])
def test_steps_of_ascent_raise_the_retrained_validation_loss(shortened: float) -> None:
    """Softmax regression, ½λ‖w‖² regularised so that retraining has one answer; Newton's method finds it to 1e-12. The
    total derivative at w*(θ) is exact there (the damping λ is the regulariser's Hessian), so small steps must go up,
    shortened ones too."""
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
        batch = Batch(z, y, inputs, start.x, held_out.x, held_out.y)
        H, solve = model.hessian(weights, z, y), solver("cg", DAMPING, 50, 1e-10)
        along, _ = total_gradient(model, weights, batch, H, flatten(outer), solve, False)
        whole = torch.autograd.grad(z_poison, list(theta.values()), along)
        ascent = [shortened * part for part in whole]
        gain = 0.5 * float(torch.dot(flatten(ascent), flatten(whole)))
        theta = {
            name: (part + 0.5 * up).detach().requires_grad_()
            for (name, part), up in zip(theta.items(), ascent, strict=True)
        }
        if len(heights) > 1:
            # First order: a step s gains ⟨s, gradient⟩; half of it allows for curvature.
            assert heights[-1] - heights[-2] > 0.5 * promised
        promised = gain
    assert heights == sorted(heights)


@pytest.mark.parametrize("alpha", [1e-3, 1.0, 1e4])
def test_a_step_moves_the_images_no_farther_than_it_may(alpha: float) -> None:
    """Also one that would saturate the leader; a short one is α's own, and the direction is the gradient's."""
    game, theta, w, batch = players(alpha=alpha)
    free, bounded = replace(game, max_move=None), replace(game, max_move=1e-3)
    before = game.images(theta, batch.inputs, batch.start).detach()
    taken = {}
    for name, player in {"free": free, "bounded": bounded}.items():
        moved = {key: value.detach().clone().requires_grad_() for key, value in theta.items()}
        player.lead(moved, w, batch, nothing(w))
        taken[name] = flatten([moved[key].detach() - value.detach() for key, value in theta.items()])
        images = game.images(moved, batch.inputs, batch.start).detach()
        far = float((images - before).square().mean().sqrt())
        assert name == "free" or far <= 1.05e-3
    assert float(torch.nn.functional.cosine_similarity(taken["free"], taken["bounded"], dim=0)) == pytest.approx(1)
    assert torch.equal(taken["free"], taken["bounded"]) == (alpha == 1e-3)


@pytest.mark.parametrize("name", ["lr", "svm", "nn"])
def test_a_mixed_gradient_is_the_derivative_of_the_rows_gradients(name: str) -> None:
    """Central differences in every pixel of ⟨v, Σ ∇_w ℓ⟩; with h = 1e-5 their own error is h² = 1e-10, a margin of
    100."""
    model, w, _, _, clean, _, _ = toy(name)
    generator = torch.Generator().manual_seed(1)
    v = torch.randn(n_params(model.parameters(w)), generator=generator, dtype=f64)

    def turned(z: Tensor) -> float:
        return float(torch.dot(v, flatten(model.gradient(w, z, clean.y)[1]))) * len(z)

    expected, h = torch.zeros_like(clean.x), 1e-5
    for index in range(expected.numel()):
        shift = torch.zeros_like(expected).view(-1)
        shift[index] = h
        shift = shift.view_as(expected)
        expected.view(-1)[index] = (turned(clean.x + shift) - turned(clean.x - shift)) / (2 * h)
    assert torch.allclose(model.mixed_gradient(w, clean.x, clean.y, v), expected, atol=1e-8)


@pytest.mark.parametrize("name", ["lr", "svm", "nn"])
def test_gauss_newton_is_the_dense_matrix(name: str) -> None:
    """JᵀQJ with J and Q whole; products are exact up to rounding. A solve with it is then that of the dense matrix."""
    model, w, _, _, clean, _, _ = toy(name)
    parameters = model.parameters(w)
    names, like = list(parameters), list(parameters.values())

    def logits(flat: Tensor) -> Tensor:
        return model.forward(dict(zip(names, unflatten(flat, like), strict=True)), clean.x, training=True)

    flat = flatten([part.detach() for part in like])
    J = torch.autograd.functional.jacobian(logits, flat).flatten(0, 1)
    outputs = logits(flat).detach()
    Q = torch.autograd.functional.hessian(lambda out: model.loss(out, clean.y), outputs).reshape(len(J), len(J))
    dense = J.T @ Q @ J
    product = model.gauss_newton(w, clean.x, clean.y)
    whole = torch.stack([product(e) for e in torch.eye(len(flat), dtype=f64)])
    assert torch.allclose(whole, dense, atol=1e-12)
    b = torch.randn(len(flat), generator=torch.Generator().manual_seed(2), dtype=f64)
    found = solver("cg", DAMPING, 200, 1e-12)(product, b)
    assert found.converged
    assert torch.allclose(found.x, torch.linalg.solve(dense + DAMPING * torch.eye(len(flat), dtype=f64), b), atol=1e-8)


def test_a_leader_that_has_saturated_is_said_to_have_collapsed() -> None:
    """Planted: an output bias of 20 makes every image white, and one that makes one grey image of all points."""
    leader, start = DenseLeader((1, 8, 8), 10), samples((1, 8, 8))
    theta = leader.init(torch.Generator().manual_seed(0))
    inputs = leader.inputs(start)
    before = Health.of(leader, theta, inputs)
    white = {**theta, "layer3.bias": theta["layer3.bias"] + 20.0}
    one = {**theta, "layer3.weight": torch.zeros_like(theta["layer3.weight"])}
    nudged = {name: value * 1.1 for name, value in theta.items()}
    assert Health.of(leader, white, inputs).collapsed_from(before)
    assert Health.of(leader, one, inputs).collapsed_from(before)
    assert Health.of(leader, one, inputs).freedom > 0.5
    assert not Health.of(leader, nudged, inputs).collapsed_from(before)
    assert not Health.of(leader, theta, inputs[:1]).collapsed_from(Health.of(leader, theta, inputs[:1]))


def players(ridge: bool = False, alpha: float = 0.1) -> tuple[Stackelberg, Weights, Weights, Batch]:
    """A game on the toy problem with softmax regression, its follower at the minimum of f + ½λ‖w‖²; θ; w; the batch."""
    model, w, leader, theta, clean, start, held_out = toy("lr")
    w = model.parameters(w)
    budget = Budget(0.3, 10, CLASSES, ThreatModel())
    solve = solver("exact", DAMPING, 0, 1e-8)
    game = Stackelberg(model, leader, budget, "hessian", solve, alpha, None, 0.0, False, ridge)
    y = torch.cat([clean.y, start.y])
    z = torch.cat([clean.x, start.x.flatten(1)])
    batch = Batch(z, y, leader.inputs(start), start.x, held_out.x, held_out.y)
    game.show(theta, batch)
    for _ in range(12):
        H = model.hessian(w, batch.z, batch.y)
        step = unflatten(solve(H, flatten(slope(game, w, batch))).x, list(w.values()))
        w = {name: (part - down).detach().requires_grad_() for (name, part), down in zip(w.items(), step, strict=True)}
    assert float(flatten(slope(game, w, batch)).norm()) < 1e-12
    return game, theta, w, batch


def nothing(w: Weights) -> Past:
    """The past of a game's first step."""
    return Past.at(Past.begin(n_params(w), next(iter(w.values())).detach()))


def slope(game: Stackelberg, w: Weights, batch: Batch) -> list[Tensor]:
    """∇_w (f + ½λ‖w‖²)."""
    _, gradients = game.model.gradient(w, batch.z, batch.y)
    return [up + DAMPING * part.detach() for up, part in zip(gradients, w.values(), strict=True)]


def test_the_solves_of_many_small_steps_are_one_good_solve() -> None:
    """Two steps of CG from the last solution on: after thirty of them it is the exact solve of the mean gradient, which
    two steps from 0 are far from."""
    game, theta, w, batch = players()
    short = replace(game, solve=solver("cg", DAMPING, 2, 0.0), alpha=1e-12)
    H, goal = game.operator(w, batch), flatten(game.model.gradient(w, batch.held_out_z, batch.held_out_y)[1])
    exact = game.solve(H, goal).x
    past = nothing(w)
    for _ in range(30):
        replace(short, averaging=0.5).lead(theta, w, batch, past)
    assert float((past.solution - exact).norm() / exact.norm()) < 1e-6
    assert float((short.solve(H, goal).x - exact).norm() / exact.norm()) > 1e-2


def test_fr_follows_the_ridge() -> None:
    """After the leader's step the follower is still at its minimum, to first order: what is left of its gradient falls
    fourfold when α is halved, and without FR, twofold. Within 20 %, since higher orders remain."""
    left = {}
    for ridge in (False, True):
        for alpha in (0.4, 0.2):
            game, theta, w, batch = players(ridge, alpha)
            game.lead(theta, w, batch, nothing(w))
            game.show(theta, batch)
            left[ridge, alpha] = float(flatten(slope(game, w, batch)).norm())
    assert left[False, 0.4] / left[False, 0.2] == pytest.approx(2, rel=0.2)
    assert left[True, 0.4] / left[True, 0.2] == pytest.approx(4, rel=0.2)
    assert left[True, 0.2] < left[False, 0.2] / 10


@pytest.mark.parametrize("name", ["nn", "batch-normed"])
def test_the_follower_moves_along_the_ridge_by_the_dense_formula(name: str) -> None:
    """−(H + λI)⁻¹ ∇²_wθ f · (θ's step), whole matrices; 1e-10 as above."""
    model, w, leader, theta, clean, start, held_out = toy(name)
    parameters, like, upper = model.parameters(w), list(model.parameters(w).values()), list(theta.values())
    y, inputs = torch.cat([clean.y, start.y]), leader.inputs(start)

    def lower(w_flat: Tensor, theta_flat: Tensor) -> Tensor:
        made = leader.images(dict(zip(theta, unflatten(theta_flat, upper), strict=True)), inputs)
        weights = w | dict(zip(parameters, unflatten(w_flat, like), strict=True))
        return model.loss(model.forward(weights, torch.cat([clean.x, model.normalise(made)]), training=True), y)

    w_flat, before = (flatten([part.detach().clone() for part in parts]) for parts in (like, upper))
    (H, J), _ = torch.autograd.functional.hessian(lower, (w_flat, before))
    z = torch.cat([clean.x, model.normalise(start.x)])
    batch = Batch(z, y, inputs, start.x, held_out.x, held_out.y)
    solve, budget = solver("exact", DAMPING, 0, 1e-8), Budget(0.3, 10, CLASSES, ThreatModel())
    game = Stackelberg(model, leader, budget, "hessian", solve, 0.1, None, 0.0, False, True)
    game.lead(theta, w, batch, nothing(parameters))
    moved = flatten([part.detach() for part in upper]) - before
    expected = -torch.linalg.solve(H + DAMPING * torch.eye(len(H), dtype=f64), J @ moved)
    answer = flatten([part.detach() for part in like]) - w_flat
    assert float((answer - expected).norm() / expected.norm()) < 1e-10


def test_a_step_of_gdn_is_newtons() -> None:
    """w − β (H + λI)⁻¹ ∇_w f, both solves dense: 1e-10 is κ times rounding, with a margin."""
    game, _, w, batch = players()
    like = [part.detach() for part in w.values()]

    def f(flat: Tensor) -> Tensor:
        return game.model.loss(game.model.forward(dict(zip(w, unflatten(flat, like), strict=True)), batch.z), batch.y)

    flat = flatten(like)
    H = torch.autograd.functional.hessian(f, flat) + DAMPING * torch.eye(len(flat), dtype=f64)
    expected = flat - 0.7 * torch.linalg.solve(H, torch.autograd.functional.jacobian(f, flat))
    Follower(game.model, 0.7, None, 1, "warm", game.newton).respond(w, batch, w)
    assert float((flatten([part.detach() for part in w.values()]) - expected).norm()) < 1e-10


def test_a_cold_follower_steps_from_the_clean_weights() -> None:
    """w ← w_pre − β ∇_w f(w), with ∇_w f taken at w."""
    game, _, w, batch = players()
    clean = {name: torch.zeros_like(part) for name, part in w.items()}
    expected = [-0.5 * up for up in game.model.gradient(w, batch.z, batch.y)[1]]
    Follower(game.model, 0.5, None, 1, "cold", None).respond(w, batch, clean)
    assert all(torch.equal(part.detach(), other) for part, other in zip(w.values(), expected, strict=True))


def test_a_follower_outlives_curvature_above_two_by_beta() -> None:
    """On softmax regression of pixels that are 30 times as large: descent at β = 0.5 bounces from one wrong answer to
    the other, ever further, where clipped steps stay near; a step in every direction moves w by β · clip at most."""
    game, _, w, batch = players()
    batch.z.mul_(30.0)
    far = []
    for clip in (None, 0.1):
        weights = {name: part.detach().clone().requires_grad_() for name, part in w.items()}
        Follower(game.model, 0.5, clip, 20, "warm", None).respond(weights, batch, w)
        far.append(float(flatten([weights[name].detach() - w[name].detach() for name in w]).norm()))
    assert far[1] <= 20 * 0.5 * 0.1 + 1e-9
    assert far[0] > 5 * far[1]
    clean = {name: torch.zeros_like(part) for name, part in w.items()}
    Follower(game.model, 0.5, 0.1, 1, "cold", None).respond(w, batch, clean)
    assert float(flatten([part.detach() for part in w.values()]).norm()) == pytest.approx(0.05)


def crafted(game: Game, **fields: object) -> Tensor:
    attack = TGDA(**{"epochs": 2, "batch_size": 16, "pretrain_epochs": 1, "n": 3, **fields})
    return attack.craft(game.attacker(attack.threat), game.budget(attack.threat), Stage(child_generator(0, "attack"))).x


def test_every_variant_changes_the_game_and_nothing_else() -> None:
    """Each field gives its own points; a reset follower of no steps never leaves w_pre, nor does a warm one."""
    game = Game(n_train=64, epsilon=0.25)
    variants: list[dict[str, object]] = [
        {},
        {"objective": "zero-sum"},
        {"first": "defender"},
        {"start": "cold"},
        {"start": "reset"},
        {"dynamics": "fr"},
        {"dynamics": "gdn"},
        {"partitions": 3},
        {"m": 3},
        {"n": 0},
        {"averaging": 0.0},
        {"held_out": False},
        {"dealt": False},
        {"passes": 2},
        {"precision": "float64"},
    ]
    found = [crafted(game, **fields) for fields in variants]
    assert len({tensor_hash(x) for x in found}) == len(variants)
    assert torch.equal(crafted(game, n=0), crafted(game, n=0, start="reset"))


def test_the_released_code_looks_at_no_held_out_row() -> None:
    """ℓ is the loss of D_tr's last rows: other held-out rows give the same points."""
    attack, points = TGDA(epochs=2, batch_size=16, pretrain_epochs=0, held_out=False), []
    for seed in (1, 2):
        game = Game(n_train=64, epsilon=0.25)
        view = game.attacker(attack.threat)
        other = torch.rand(view.validation.x.shape, generator=child_generator(seed, "other"))
        seen = replace(view, validation=replace(view.validation, x=other))
        points.append(attack.craft(seen, game.budget(attack.threat), Stage(child_generator(0, "attack"))).x)
    assert torch.equal(*points)


def test_float64_is_float32_without_its_rounding() -> None:
    game = Game(n_train=64, epsilon=0.25)
    short = {"epochs": 1, "n": 1}
    exact = crafted(game, precision="float64", **short)
    assert exact.dtype is torch.float32
    assert torch.allclose(crafted(game, **short), exact, atol=1e-4)


def test_points_that_are_not_dealt_out_are_the_first_of_every_batch() -> None:
    game = Game(n_train=64, epsilon=0.25)
    view = game.attacker(TGDA().threat)
    batches = Batches.of(view, view.train.rows(slice(0, 16)), torch.rand(16, 3), 32, False, dealt=False)
    orders = {name: torch.arange(n).flip(0) for name, n in batches.rows.items()}
    for index in range(2):
        assert torch.equal(batches.at(orders, index, torch.Generator()).start, batches.start.x[:8])


def test_a_leader_may_be_applied_to_its_own_images() -> None:
    _, _, leader, theta, _, start, _ = toy("lr")
    once = leader.images(theta, leader.inputs(start))
    assert torch.equal(leader.passed(theta, start, 1).x, start.x)
    assert torch.equal(leader.passed(theta, start, 2).x, once)


def test_a_part_of_one_point_has_no_diversity_to_lose() -> None:
    game = Game(n_train=64, epsilon=0.05)
    attack = TGDA(epochs=1, pretrain_epochs=1, partitions=3)
    poison = attack.craft(game.attacker(attack.threat), game.budget(attack.threat), Stage(child_generator(0, "attack")))
    assert len(poison) == 3
    assert poison.stats["collapsed"] is False


class SameStream:
    """An executor that gives every part the stream of a game without parts: that behind L's first weights."""

    def map(self, work: Callable[[int, Stage], T], stages: Sequence[Stage]) -> list[T]:
        return [work(k, replace(stage, generator=self._stream())) for k, stage in enumerate(stages)]

    def _stream(self) -> torch.Generator:
        generator, game = child_generator(0, "attack"), Game()
        leader_for(game.shape, game.classes).init(generator)
        return generator


class LastFirst:
    """An executor that works from the last part to the first, as one with many workers may."""

    def map(self, work: Callable[[int, Stage], T], stages: Sequence[Stage]) -> list[T]:
        return [work(k, stages[k]) for k in reversed(range(len(stages)))][::-1]


def test_partitions_are_games_of_their_own() -> None:
    """Every K-th point is what TGDA makes of every K-th row: here by handing it those rows alone, without pretraining,
    so that the random stream stands at the same place."""
    game, K = Game(n_train=64, n_validation=40, epsilon=0.25), 2
    attack = TGDA(epochs=2, pretrain_epochs=0, n=3, partitions=K)
    view, budget = game.attacker(attack.threat), game.budget(attack.threat)
    whole = attack.craft(view, budget, Stage(child_generator(0, "attack"), executor=SameStream()))
    part = replace(
        view, train=view.train.rows(torch.arange(0, 64, K)), validation=view.validation.rows(torch.arange(0, 40, K))
    )
    alone = replace(attack, partitions=1).craft(part, replace(budget, n_train=32), Stage(child_generator(0, "attack")))
    assert torch.equal(whole.x[::K], alone.x)
    assert torch.equal(whole.source, torch.arange(16))


def test_the_order_in_which_partitions_are_played_changes_nothing() -> None:
    game, attack = Game(n_train=64, epsilon=0.25), TGDA(epochs=2, pretrain_epochs=1, n=3, partitions=3)
    view, budget = game.attacker(attack.threat), game.budget(attack.threat)
    one = attack.craft(view, budget, Stage(child_generator(0, "attack")))
    other = attack.craft(view, budget, Stage(child_generator(0, "attack"), executor=LastFirst()))
    assert torch.equal(one.x, other.x)
    assert one.stats == other.stats


def test_unlearnable_examples_take_the_place_of_all_rows() -> None:
    game = Game(epsilon=1.0)
    attack = TGDA(**{**TGDA.presets["unlearnable"], "mode": Mode.PERTURBATION}, epochs=2, pretrain_epochs=1, n=2)
    view, budget = game.attacker(attack.threat), game.budget(attack.threat)
    poison = attack.craft(view, budget, Stage(child_generator(0, "attack")))
    assert attack.threat.mode is Mode.PERTURBATION
    assert torch.equal(poison.source, torch.arange(game.n_train))
    assert torch.equal(poison.y, view.train.y)


def test_labels_are_the_sources_and_the_poison_is_made_from_the_first_rows() -> None:
    game, attack = Game(), TGDA(epochs=1, pretrain_epochs=1, n=1)
    view, budget = game.attacker(attack.threat), game.budget(attack.threat)
    poison = attack.craft(view, budget, Stage(child_generator(0, "attack")))
    assert torch.equal(poison.source, torch.arange(budget.n_poison))
    assert torch.equal(poison.y, view.train.y[: budget.n_poison])
    assert {"solver_steps", "solver_residual", "solver_converged"} <= poison.stats.keys()
    assert poison.stats["collapsed"] is False


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
        ({"partitions": 0}, r"attack\.partitions"),
        ({"radius": 1.5}, r"attack\.radius: expected a number in \(0, 1\] or null"),
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
