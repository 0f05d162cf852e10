"""Influence scores against leave-one-out retraining and dense linear algebra, float64.

Production runs in float32: a solve to a residual of 1e-6 with condition numbers up to 1e3, and sums over some hundred
products, are held to 1e-5 of the largest score. Operators are also run in float64, and held to 1e-10.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import pytest
import torch
from torch import Tensor

from poisonbench.bilevel.hvp import flatten, unflatten
from poisonbench.bilevel.lanczos import lanczos
from poisonbench.defenses.gradients.norms import squared_gradient_norms
from poisonbench.defenses.influence import defense as influence_module
from poisonbench.defenses.influence.defense import Influence
from poisonbench.defenses.influence.self_influence import dense_self_influence
from poisonbench.errors import ConfigError, StageTimeoutError, ValidationError
from poisonbench.models import cnn
from poisonbench.models.base import Model
from poisonbench.models.curvature import Curvature
from poisonbench.models.nn import NeuralNetwork
from poisonbench.plugins.registry import load
from poisonbench.problem.recipe import Recipe
from poisonbench.problem.samples import Samples, Weights
from poisonbench.problem.views import DefenderView
from poisonbench.seeding import child_generator
from poisonbench.stages.stage import Deadline, Silent, Stage
from poisonbench.testing import Game
from poisonbench.training import train

GAMES = {
    "lr": Game(n_train=100),
    "svm": Game(model="svm", n_train=100),
    "nn": Game(model="nn", shape=(1, 3, 3), n_train=40),
    "cnn": Game(model="cnn", n_train=20),
}
LAMBDA = 0.05
KINDS = ("gauss-newton", "hessian")
every_model = pytest.mark.parametrize("name", ["lr", "nn", "cnn"])
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CNN of some 200 weights, whose Hessian can be written out: its widths enter where weights are drawn."""
    monkeypatch.setattr(cnn, "WIDTHS", (2, 3))


def stage() -> Stage:
    return Stage(child_generator(0, "defense"))


@cache
def fitted(name: str) -> tuple[DefenderView, Weights]:
    view = GAMES[name].defender()
    return view, GAMES[name].fit(view.train)


@dataclass(frozen=True)
class Dense:
    """Everything written out, in float64, by other means than the code under test.

    Attributes:
        hessian: ∇² of the mean training loss, (p, p), by torch.autograd.functional.
        gauss_newton: the mean of JᵢᵀQᵢJᵢ, with Q = diag(p) − ppᵀ for cross entropy.
        gradients: of every training row's loss, (n, p).
        validation: ∇L_v, (p,).
    """

    hessian: Tensor
    gauss_newton: Tensor
    gradients: Tensor
    validation: Tensor

    @classmethod
    def of(cls, view: DefenderView, weights: Weights) -> Dense:
        model, parameters = view.model, view.model.parameters(weights)
        names, like = list(parameters), list(parameters.values())
        at = flatten(like).double()

        def logits(vector: Tensor, x: Tensor) -> Tensor:
            return model.forward(dict(zip(names, unflatten(vector, like), strict=True)), model.normalise(x.double()))

        def losses(vector: Tensor, rows: Samples) -> Tensor:
            return model.losses(logits(vector, rows.x), rows.y)

        functional = torch.autograd.functional
        J = functional.jacobian(lambda vector: logits(vector, view.train.x), at)
        P = logits(at, view.train.x).softmax(1)
        Q = torch.diag_embed(P) - P[:, :, None] * P[:, None, :]
        return cls(
            functional.hessian(lambda vector: losses(vector, view.train).mean(), at),
            torch.einsum("nap,nab,nbq->pq", J, Q, J) / len(view.train),
            functional.jacobian(lambda vector: losses(vector, view.train), at),
            functional.jacobian(lambda vector: losses(vector, view.trusted).mean(), at),
        )

    def curvature(self, kind: str) -> Tensor:
        return self.hessian if kind == "hessian" else self.gauss_newton

    def scores(self, influence: str, kind: str, damping: float) -> Tensor:
        A = self.curvature(kind) + damping * torch.eye(len(self.validation), dtype=torch.float64)
        if influence == "self":
            return (self.gradients * torch.linalg.solve(A, self.gradients.T).T).sum(1)
        signed = -self.gradients @ torch.linalg.solve(A, self.validation)
        return signed if influence == "signed" else signed.abs()

    def positive_damping(self, kind: str) -> float:
        """LAMBDA, and as much more as makes H + λI positive definite."""
        return LAMBDA + max(0.0, -float(torch.linalg.eigvalsh(self.curvature(kind))[0]))


@cache
def dense_of(name: str) -> Dense:
    return Dense.of(*fitted(name))


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected).abs().max() / expected.abs().max())


@every_model
@every_kind
@pytest.mark.parametrize("influence", ["signed", "absolute", "self"])
def test_scores_are_those_of_dense_linear_algebra(name: str, kind: str, influence: str) -> None:
    view, weights = fitted(name)
    dense = dense_of(name)
    damping = dense.positive_damping(kind)
    rtol = 1e-4 if influence == "self" else 1e-6  # of self-influence, a part of squares in float32
    rank = len(dense.validation)  # the whole space
    defense = Influence(influence=influence, curvature=kind, damping=damping, max_steps=500, rtol=rtol, rank=rank)
    found = defense.score(view, weights, stage())
    assert relative(found.values, dense.scores(influence, kind, damping)) < 1e-5
    assert found.stats["solver_converged"]
    assert found.stats["solver_residual"] <= rtol


def minimiser(view: DefenderView, counted: Tensor, start: Tensor) -> Tensor:
    """argmin_W 1/n Σᵢ countedᵢ ℓᵢ + λ/2 ‖W‖² of logistic regression, (C, d + 1), by Newton's method to 1e-10."""
    z = view.model.normalise(view.train.x.double())
    Z = torch.cat([z, torch.ones(len(z), 1, dtype=torch.float64)], dim=1)
    Y = torch.nn.functional.one_hot(view.train.y, view.classes)
    W = start
    for _ in range(50):
        P = (Z @ W.T).softmax(1)
        gradient = ((P - Y) * counted[:, None]).T @ Z / len(Z) + LAMBDA * W
        if gradient.norm() < 1e-10:
            return W
        Q = (torch.diag_embed(P) - P[:, :, None] * P[:, None, :]) * counted[:, None, None]
        H = torch.einsum("nab,ni,nj->aibj", Q, Z, Z).reshape(W.numel(), -1) / len(Z)
        step = torch.linalg.solve(H + LAMBDA * torch.eye(W.numel(), dtype=torch.float64), gradient.flatten())
        W = W - step.view_as(W)
    raise AssertionError("Newton's method did not converge.")


def test_scores_predict_leave_one_out_retraining() -> None:
    """−score / n is the change of the validation loss to first order in 1/n. One of these rows is a hundredth of the
    weight; without it the Hessian shrinks and the true change is some 8 % larger."""
    view, _ = fitted("lr")
    n = len(view.train)

    def validation_loss(W: Tensor) -> float:
        logits = view.model.normalise(view.trusted.x.double()) @ W[:, :-1].T + W[:, -1]
        return float(torch.nn.functional.cross_entropy(logits, view.trusted.y))

    everything = torch.ones(n, dtype=torch.float64)
    best = minimiser(view, everything, torch.zeros(view.classes, 17, dtype=torch.float64))
    changes = []
    for row in range(n):
        others = everything.clone()
        others[row] = 0.0
        changes.append(validation_loss(minimiser(view, others, best)) - validation_loss(best))
    actual = torch.tensor(changes, dtype=torch.float64)

    weights = {"linear.weight": best[:, :-1].float(), "linear.bias": best[:, -1].float()}
    scores = Influence(damping=LAMBDA, rtol=1e-6).score(view, weights, stage()).values.double()
    predicted = -scores / n
    assert float(torch.corrcoef(torch.stack([predicted, actual]))[0, 1]) > 0.99
    assert 1.0 < float(actual @ predicted / (predicted @ predicted)) < 1.15  # scale and sign
    assert int(actual.argmin()) == int(scores.argmax())  # the row whose removal helps most
    assert actual.min() < 0


@pytest.mark.parametrize("name", ["lr", "svm", "nn"])
def test_flipped_labels_come_first(name: str) -> None:
    """Removing them helps, so most of them score highest; with the sign turned hardly any would."""
    game, k = replace(GAMES[name], shape=(1, 6, 6), n_train=100), 10
    rows = game.samples("train", game.n_train)
    flipped = torch.where(rows.ids < k, (rows.y + 1) % game.classes, rows.y)
    view = replace(game.defender(), train=Samples(rows.x, flipped, rows.ids))
    weights = train(view.model, view.train, Recipe(batch_size=20, epochs=40), stage(), "train")
    scores = Influence().score(view, weights, stage()).values
    assert int((scores.argsort(descending=True)[:k] < k).sum()) >= 7


@pytest.mark.parametrize("name", ["lr", "nn", "cnn", "svm"])
@every_kind
def test_the_operator_is_the_dense_matrix_in_any_chunks(name: str, kind: str) -> None:
    view, weights = fitted(name)
    exact = {key: value.double() for key, value in weights.items()}
    rows = Samples(view.train.x.double(), view.train.y, view.train.ids)
    if name == "svm":
        expected = torch.zeros(sum(value.numel() for value in weights.values()), dtype=torch.float64).diag()
    else:
        expected = dense_of(name).curvature(kind)
    vectors = torch.randn(3, len(expected), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for chunk in (7, 4096):
        H = Curvature(view.model, exact, rows, kind, chunk=chunk)
        products = torch.stack([H(v) for v in vectors])
        assert float((products - vectors @ expected).abs().max()) <= 1e-10 * float(expected.abs().max())


@every_kind
def test_a_product_never_sees_more_than_a_chunk(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    view, weights = fitted("nn")
    sizes: list[int] = []
    forward = NeuralNetwork.forward

    def spy(self: NeuralNetwork, weights: Weights, z: Tensor, training: bool = False) -> Tensor:
        sizes.append(len(z))
        return forward(self, weights, z, training)

    monkeypatch.setattr(NeuralNetwork, "forward", spy)
    H = Curvature(view.model, weights, view.train, kind, chunk=16)
    H(torch.ones(sum(value.numel() for value in weights.values())))
    assert sizes == [16, 16, len(view.train) - 32]  # one forward pass a chunk


def resnet() -> tuple[Model, Weights, Samples]:
    model: Model = load("model", "resnet18")((3, 8, 8), 2, (0.5,) * 3, (0.5,) * 3)
    generator = torch.Generator().manual_seed(0)
    weights = model.init(generator)
    return model, weights, Samples(torch.rand(4, 3, 8, 8, generator=generator), torch.arange(4) % 2, torch.arange(4))


@pytest.mark.slow
@every_kind
def test_batch_statistics_stand_still(kind: str) -> None:
    model, weights, rows = resnet()
    before = {name: weights[name].clone() for name in model.buffers}
    H = Curvature(model, weights, rows, kind, chunk=3)
    p = sum(value.numel() for value in model.parameters(weights).values())
    u, v = (torch.randn(p, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    Hu, Hv = H(u), H(v)
    assert abs(float(torch.dot(u, Hv) - torch.dot(v, Hu))) < 1e-3 * float(Hu.norm() * v.norm())  # float32, 11 M terms
    assert all(torch.equal(weights[name], before[name]) for name in before)


@every_kind
def test_an_svm_has_no_curvature(kind: str) -> None:
    """H = 0: the scores are plain products of gradients over λ, whose order no λ changes."""
    view, weights = fitted("svm")
    dense = dense_of("svm")
    assert float(dense.hessian.abs().max()) == 0.0
    found = Influence(curvature=kind, damping=LAMBDA).score(view, weights, stage())
    assert relative(found.values, -dense.gradients @ dense.validation / LAMBDA) < 1e-5
    assert found.stats == {"solver_steps": 1, "solver_residual": pytest.approx(0.0, abs=1e-5), "solver_converged": True}
    own = Influence(curvature=kind, influence="self", damping=LAMBDA).score(view, weights, stage()).values
    assert relative(own, dense.gradients.square().sum(1) / LAMBDA) < 1e-5


@pytest.mark.parametrize("name", ["lr", "svm", "nn", "cnn"])
@pytest.mark.parametrize("chunk", [7, 4096])
def test_norms_are_those_of_the_gradients(name: str, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    view, weights = fitted(name)
    monkeypatch.setattr("poisonbench.defenses.gradients.norms.LARGEST", 300)  # two rows of conv2 at once
    found = squared_gradient_norms(view.model, weights, view.train, chunk)
    assert relative(found, dense_of(name).gradients.square().sum(1)) < 1e-5


def test_models_that_do_not_trace_their_layers_have_no_self_influence() -> None:
    model, weights, rows = resnet()
    with pytest.raises(ConfigError, match=r"'resnet18' does not show what its layers meet.* defense\.influence=signed"):
        squared_gradient_norms(model, weights, rows)


def test_chunks_change_no_dense_self_influence() -> None:
    view, weights = fitted("lr")
    ticks: list[None] = []
    parts = [
        dense_self_influence(view.model, weights, view.train, 0.01, lambda: ticks.append(None), c) for c in (7, 999)
    ]
    assert relative(parts[0], parts[1].double()) < 1e-5
    assert len(ticks) == 2 * (-(-len(view.train) // 7) + 1)


def test_a_low_rank_is_exact_on_what_has_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few rows' Gauss–Newton matrix has a rank of at most n (C − 1), far below p: the default rank covers it all. A
    linear model is solved exactly whatever the rank, and both ways agree."""
    view, weights = fitted("cnn")
    few = replace(view, train=view.train.rows(slice(0, 10)))
    found = Influence(influence="self", damping=LAMBDA).score(few, weights, stage())
    assert relative(found.values, Dense.of(few, weights).scores("self", "gauss-newton", LAMBDA)) < 1e-5
    assert found.stats["solver_converged"]
    assert found.stats["solver_steps"] <= 10 * 3 + 1

    view, weights = fitted("lr")
    exact = Influence(influence="self", damping=LAMBDA, rank=1).score(view, weights, stage())
    assert relative(exact.values, dense_of("lr").scores("self", "gauss-newton", LAMBDA)) < 1e-5
    assert exact.stats == {"solver_steps": 1, "solver_residual": 0.0, "solver_converged": True}
    monkeypatch.setattr(influence_module, "DENSE", 0)
    whole = Influence(influence="self", damping=LAMBDA, rank=68).score(view, weights, stage())
    assert relative(whole.values, exact.values.double()) < 1e-5


@pytest.mark.parametrize("rank", [1, 8, 24])
def test_a_low_rank_says_what_it_leaves_out(rank: int) -> None:
    """Against the same construction written out: H compressed to span{b, Hb, …}, nothing outside."""
    view, weights = fitted("nn")
    dense = dense_of("nn")
    found = Influence(influence="self", damping=LAMBDA, rank=rank).score(view, weights, stage())
    b = torch.randn(len(dense.validation), generator=child_generator(0, "defense")).double()
    space = [b / b.norm()]
    for _ in range(rank - 1):
        w = dense.gauss_newton @ space[-1]
        for _ in range(2):
            w = w - sum(torch.dot(w, v) * v for v in space)
        space.append(w / w.norm())
    P = torch.stack(space).T @ torch.stack(space)
    A = P @ dense.gauss_newton @ P + LAMBDA * torch.eye(len(b), dtype=torch.float64)
    expected = (dense.gradients * torch.linalg.solve(A, dense.gradients.T).T).sum(1)
    assert relative(found.values, expected) < 1e-5
    norms = dense.gradients.square().sum()
    left_out = float(1 - (dense.gradients @ P).square().sum() / norms)
    assert found.stats["solver_residual"] == pytest.approx(left_out, abs=1e-4)
    assert found.stats["solver_converged"] is False
    assert found.stats["solver_steps"] == rank


def test_lanczos_tridiagonalises() -> None:
    generator = torch.Generator().manual_seed(0)
    H = torch.randn(40, 40, generator=generator, dtype=torch.float64)
    H = H @ torch.diag(10.0 ** -torch.arange(40, dtype=torch.float64)) @ H.T  # where three-term recurrences fail
    b = torch.randn(40, generator=generator, dtype=torch.float64)
    V, T = lanczos(lambda v: H @ v, b, 25)
    m = len(V)
    assert float((V @ V.T - torch.eye(m, dtype=torch.float64)).abs().max()) < 1e-12
    assert float((V @ H @ V.T - T).abs().max()) < 1e-12 * float(H.abs().max())
    assert float(T.triu(2).abs().max()) == 0.0
    assert torch.allclose(V[0], b / b.norm())


@pytest.mark.parametrize(("spectrum", "size"), [([0.0], 1), ([3.0, 3.0, 1.0, 0.0], 3), ([1.0, 2.0, 3.0, 4.0], 4)])
def test_lanczos_ends_where_the_space_is_invariant(spectrum: list[float], size: int) -> None:
    """A start in general position meets each eigenvalue once."""
    H = torch.tensor(spectrum * (20 // len(spectrum)))
    V, T = lanczos(lambda v: H * v, torch.randn(20, generator=torch.Generator().manual_seed(0)), 10)
    assert len(V) == size
    assert torch.allclose(torch.linalg.eigvalsh(T), torch.tensor(sorted(set(spectrum)), dtype=torch.float64), atol=1e-5)


def indefinite() -> tuple[DefenderView, Weights]:
    """A network whose Hessian has directions of negative curvature beyond λ, as networks do."""
    view, weights = fitted("nn")
    weights = {name: 3 * value for name, value in weights.items()}
    assert float(torch.linalg.eigvalsh(Dense.of(view, weights).hessian)[0]) < -2 * LAMBDA
    return view, weights


def test_a_solve_that_did_not_converge_shows() -> None:
    view, weights = indefinite()
    stopped = Influence(curvature="hessian", damping=LAMBDA).score(view, weights, stage())
    assert stopped.stats["solver_converged"] is False
    assert bool(torch.isfinite(stopped.values).all())
    with pytest.raises(ValidationError, match=r"positive definite.*defense\.damping.*gauss-newton"):
        Influence(influence="self", curvature="hessian", damping=LAMBDA, rank=500).score(view, weights, stage())
    short = Influence(damping=LAMBDA, max_steps=2).score(view, weights, stage())
    assert short.stats["solver_steps"] == 2
    assert short.stats["solver_converged"] is False
    assert short.stats["solver_residual"] > 1e-3
    assert Influence(damping=LAMBDA).score(view, weights, stage()).stats["solver_converged"] is True


@pytest.mark.parametrize("influence", ["signed", "self"])
def test_weight_decay_is_part_of_the_damping(influence: str) -> None:
    view, weights = fitted("lr")
    decayed = replace(view, recipe=replace(view.recipe, weight_decay=0.04))
    found = Influence(influence=influence, damping=0.01).score(decayed, weights, stage()).values
    assert torch.equal(found, Influence(influence=influence, damping=0.05).score(view, weights, stage()).values)


def test_only_self_influence_does_without_the_validation_set() -> None:
    view, weights = fitted("lr")
    blind = replace(view, trusted=view.trusted.rows(slice(0, 0)))
    assert bool(torch.isfinite(Influence(influence="self").score(blind, weights, stage()).values).all())
    assert [Influence(influence=kind).trusted_data for kind in ("signed", "absolute", "self")] == [True, True, False]


class Count(Silent):
    def __init__(self) -> None:
        self.steps = 0
        self.measures: dict[str, float] = {}

    def advance(self, task: str, done: int, measures: dict[str, float]) -> None:
        self.steps, self.measures = done, dict(measures)


@pytest.mark.parametrize(("name", "influence"), [("nn", "signed"), ("nn", "self"), ("lr", "self")])
def test_every_product_is_seen_and_a_deadline_is_kept(name: str, influence: str) -> None:
    view, weights = fitted(name)
    defense, count = Influence(influence=influence, rank=8), Count()
    found = defense.score(view, weights, replace(stage(), progress=count))
    assert count.steps >= found.stats["solver_steps"]
    if influence == "signed":
        assert count.measures == {"residual": found.stats["solver_residual"]}
    with pytest.raises(StageTimeoutError, match="influence passed its deadline after step 1"):
        defense.score(view, weights, replace(stage(), deadline=Deadline.after(-1.0)))


@pytest.mark.parametrize(
    "fields",
    [
        {"damping": 0.0},
        {"damping": float("inf")},
        {"rtol": 0.0},
        {"rtol": 1.0},
        {"max_steps": 0},
        {"rank": 0},
        {"fraction": 1.5},
    ],
)
def test_fields_are_checked(fields: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=rf"defense\.{next(iter(fields))}"):
        Influence(**fields)
