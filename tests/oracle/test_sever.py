"""Sever and the filter family against dense linear algebra.

The dense side runs in float64. The operator runs in float32, as in a run, and again in float64, where agreement to 1e-9
leaves no room for an error of a formula.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from poisonbench.bilevel.hvp import flatten
from poisonbench.bilevel.leading_eigenpair import MAX_BASIS, leading_eigenpair
from poisonbench.defenses.base import FilterDefense, Scores
from poisonbench.defenses.gradients.layers import LayerGradients
from poisonbench.defenses.gradients.operator import GradientOperator
from poisonbench.defenses.loss import LossDefense
from poisonbench.defenses.quotas import top
from poisonbench.defenses.sever.defense import Sever
from poisonbench.defenses.sever.spectral import leading_component
from poisonbench.errors import ConfigError, ValidationError
from poisonbench.models.base import Model
from poisonbench.models.layers import linear
from poisonbench.models.nn import NeuralNetwork
from poisonbench.plugins.registry import register
from poisonbench.problem.procedure import Procedure
from poisonbench.problem.samples import Samples, Weights
from poisonbench.problem.views import DefenderView
from poisonbench.seeding import child_generator
from poisonbench.stages.stage import Stage
from poisonbench.testing import Game

# Few pixels and rows; CNNs need room to pool twice. Of lr there are more rows than parameters, of the others fewer.
GAMES = {
    "lr": Game(n_train=100),
    "svm": Game(model="svm"),
    "nn": Game(model="nn", shape=(1, 3, 3), n_train=40),
    "cnn": Game(model="cnn", n_train=20),
    "cifar-cnn": Game(model="cifar-cnn", shape=(2, 16, 16), n_train=20),
}
every_model = pytest.mark.parametrize("name", GAMES)


class Untraced(NeuralNetwork):
    """Shows no layer."""

    def forward(self, weights: Weights, z: Tensor, training: bool = False) -> Tensor:
        return super().forward(dict(weights), z, training)


class Tied(NeuralNetwork):
    """Uses one layer twice and another never: a parameter's gradient is then more than one layer's."""

    def features(self, weights: Weights, z: Tensor) -> Tensor:
        for _ in range(2):
            z = torch.tanh(linear(weights, "hidden1", z))
        return z + 0 * weights["hidden2.weight"].sum() + 0 * weights["hidden2.bias"].sum()


def stage() -> Stage:
    return Stage(child_generator(0, "defense"))


def fitted(name: str) -> tuple[DefenderView, Weights]:
    view = GAMES[name].defender()
    return view, GAMES[name].fit(view.train)


def in_float64(view: DefenderView, weights: Weights) -> tuple[DefenderView, Weights]:
    samples = Samples(view.train.x.double(), view.train.y, view.train.ids)
    return replace(view, train=samples), {name: value.double() for name, value in weights.items()}


def dense_gradients(model: Model, weights: Weights, rows: Samples) -> Tensor:
    """Per-sample gradients by a loop, centred, (n, p), float64."""
    leaves = {name: value.double().requires_grad_(name not in model.buffers) for name, value in weights.items()}
    found = []
    for i in range(len(rows)):
        z = model.normalise(rows.x[i : i + 1].double())
        loss = model.losses(model.forward(leaves, z), rows.y[i : i + 1]).sum()
        found.append(flatten(torch.autograd.grad(loss, list(model.parameters(leaves).values()))))
    G = torch.stack(found)
    return G - G.mean(0)


def dense_scores(G: Tensor) -> Tensor:
    _, _, vt = torch.linalg.svd(G, full_matrices=False)
    return (G @ vt[0]).square()


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected).abs().max() / expected.abs().max())


@every_model
def test_scores_are_those_of_the_dense_svd(name: str) -> None:
    view, weights = fitted(name)
    dense = dense_gradients(view.model, weights, view.train)
    expected, singular_values = dense_scores(dense), torch.linalg.svdvals(dense)
    found = Sever(tol=1e-7, per_class=False).score(view, weights, stage())
    assert relative(found.values, expected) < 1e-6
    assert found.stats["singular_value"] == pytest.approx(float(singular_values[0]), rel=1e-6)
    assert found.stats["gap"] == pytest.approx(1 - float(singular_values[1] / singular_values[0]), abs=1e-2)
    assert 0 <= found.stats["residual"] <= 1e-7
    assert 1 < found.stats["products"] <= min(dense.shape)
    exact = Sever(tol=1e-12, per_class=False).score(*in_float64(view, weights), stage())
    assert relative(exact.values, expected) < 1e-9
    # At the default tolerance the order, which is all that is used of it, is the same at the top.
    quota = len(view.train) // 5
    default = Sever(per_class=False).score(view, weights, stage()).values
    assert set(top(default, quota).tolist()) == set(top(expected, quota).tolist())


@pytest.mark.parametrize("name", ["lr", "nn"])
def test_scores_per_class(name: str) -> None:
    view, weights = fitted(name)
    found = Sever(tol=1e-7).score(view, weights, stage())
    expected = torch.zeros(len(view.train), dtype=torch.float64)
    values = []
    for label in range(view.classes):
        rows = torch.nonzero(view.train.y == label).flatten()
        G = dense_gradients(view.model, weights, view.train.rows(rows))
        expected[rows] = dense_scores(G)
        values.append(float(torch.linalg.matrix_norm(G, 2)))
    assert relative(found.values, expected) < 1e-6
    assert found.stats["singular_value"] == pytest.approx(max(values), rel=1e-6)
    assert 0 < found.stats["gap"] < 1


kept_part = pytest.mark.parametrize("part", [0, 0.5, 1])


def bytes_of(part: float, view: DefenderView, weights: Weights) -> int:
    """Enough to keep that part of all rows."""
    row = LayerGradients.of(view.model, weights, view.train.x[:1], view.train.y[:1]).numel
    return int(part * len(view.train) * row * view.train.x.itemsize)


@kept_part
@every_model
def test_scores_do_not_depend_on_what_is_kept(name: str, part: float) -> None:
    view, weights = fitted(name)
    G = GradientOperator(view.model, weights, view.train, chunk=7, kept_bytes=bytes_of(part, view, weights))
    assert G.width == (1 if part == 1 else 16)
    found = leading_component(G, child_generator(0, "start"), 1e-7, lambda residual: None)
    expected = dense_scores(dense_gradients(view.model, weights, view.train))
    assert relative(found.projections.square(), expected) < 1e-6


@kept_part
@every_model
def test_rows_that_are_kept_are_computed_once(name: str, part: float, monkeypatch: pytest.MonkeyPatch) -> None:
    view, weights = fitted(name)
    G = GradientOperator(view.model, weights, view.train, chunk=7, kept_bytes=bytes_of(part, view, weights))
    computed: list[int] = []
    of = LayerGradients.of

    def counted(model: Model, weights: Weights, x: Tensor, y: Tensor) -> LayerGradients:
        computed.append(len(y))
        return of(model, weights, x, y)

    monkeypatch.setattr(LayerGradients, "of", counted)
    u = torch.ones(len(view.train))
    for visit in range(3):
        computed.clear()
        G.times(G.transposed_times(u)) if visit == 1 else G.transposed_times(u)
        anew = sum(len(y) for y in view.train.y.split(7)[int(part * len(view.train)) // 7 :]) if part < 1 else 0
        assert sum(computed) == [len(view.train), 2 * anew, anew][visit]


def products(G: GradientOperator, dense: Tensor, order: str) -> list[tuple[Tensor, Tensor]]:
    """Found and expected, for each letter: v ↦ Gv, u ↦ Gᵀu, and g for v ↦ Gv and GᵀGv."""
    generator = torch.Generator().manual_seed(0)
    v, u = (torch.randn(3, size, generator=generator, dtype=torch.float64) for size in reversed(dense.shape))
    pairs = []
    for letter in order:
        if letter == "v":
            pairs.append((G.times(v), v @ dense.T))
        elif letter == "u":
            pairs.append((G.transposed_times(u), u @ dense))
        else:
            pairs += list(zip(G.gram_times(v), (v @ dense.T, v @ dense.T @ dense), strict=True))
    pairs += [(G.times(v[1]), dense @ v[1]), (G.transposed_times(u[2]), dense.T @ u[2])]
    return pairs


@pytest.mark.parametrize("order", ["vug", "uvg", "gvu"])  # who comes first finds the mean row
@pytest.mark.parametrize(("chunk", "part"), [(7, 0), (7, 0.5), (7, 1), (4096, 1)])
@every_model
def test_the_operator_is_the_centred_matrix(name: str, chunk: int, part: float, order: str) -> None:
    view, weights = in_float64(*fitted(name))
    kept_bytes = bytes_of(part, view, weights)
    assert LayerGradients.cover(view.model, weights, view.train.x[:1])
    dense = dense_gradients(view.model, weights, view.train)
    G = GradientOperator(view.model, weights, view.train, chunk=chunk, kept_bytes=kept_bytes)
    assert G.shape == dense.shape
    for found, expected in products(G, dense, order):
        assert found.shape == expected.shape
        assert relative(found, expected) < 1e-12
    raw = GradientOperator(view.model, weights, view.train, centred=False, chunk=chunk, kept_bytes=kept_bytes)
    ones = torch.ones(len(view.train), dtype=torch.float64)
    assert float((dense.T @ ones).abs().max()) < 1e-12
    losses = view.model.losses(view.model.predict(weights, view.train.x), view.train.y)
    assert float(raw.transposed_times(ones).norm()) > 1e-2 * float(losses.sum())  # the mean row is not zero
    v = torch.randn(dense.shape[1], generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert relative(raw.times(v) - raw.times(v).mean(), dense @ v) < 1e-11


@pytest.mark.parametrize("cls", [Untraced, Tied])
def test_a_model_that_hides_its_layers_is_differentiated_instead(cls: type[Model]) -> None:
    game = GAMES["nn"]
    view, weights = in_float64(*fitted("nn"))
    model = cls(game.shape, game.classes, (0.5,), (0.5,))
    assert not LayerGradients.cover(model, weights, view.train.x[:1])
    dense = dense_gradients(model, weights, view.train)
    for order in ("vug", "gvu"):
        G = GradientOperator(model, weights, view.train, chunk=7)
        assert G.width == 1
        for found, expected in products(G, dense, order):
            assert relative(found, expected) < 1e-12
    found64 = Sever(tol=1e-12, per_class=False).score(replace(view, model=model), weights, stage()).values
    assert relative(found64, dense_scores(dense)) < 1e-9


def test_scores_on_a_resnet() -> None:
    game = Game(model="resnet18", shape=(3, 4, 4), n_train=3, epsilon=0.34)
    view, model = game.defender(), game.target()
    weights = model.init(child_generator(0, "init"))
    assert not LayerGradients.cover(model, weights, view.train.x[:1])
    dense = dense_gradients(model, weights, view.train)
    squares, vectors = torch.linalg.eigh(dense @ dense.T)  # 4 rows of 11 million
    expected = squares[-1] * vectors[:, -1].square()
    assert (
        relative(Sever(tol=1e-7, per_class=False).score(view, weights, stage()).values, expected) < 1e-5
    )  # float32 through 20 layers


def spectrum(values: Tensor) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """v ↦ Av with these eigenvalues, and the eigenvectors in rows."""
    generator = torch.Generator().manual_seed(0)
    Q = torch.linalg.qr(torch.randn(len(values), len(values), generator=generator, dtype=torch.float64))[0]
    return lambda v: (v @ Q.T * values) @ Q, Q


@settings(max_examples=60, deadline=None)
@given(d=st.integers(1, 60), width=st.integers(1, 20), rank=st.integers(1, 60), seed=st.integers(0, 99))
def test_the_leading_eigenpair_is_found(d: int, width: int, rank: int, seed: int) -> None:
    """Of any width, also wider than the matrix or than its rank."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(d, generator=generator, dtype=torch.float64) * (torch.arange(d) < rank)
    values[0] = 1.2
    A, Q = spectrum(values)
    start = torch.randn(width, d, generator=generator, dtype=torch.float64)
    seen: list[float] = []
    found = leading_eigenpair(A, start, 1e-10, seen.append)
    assert found.value == pytest.approx(1.2, rel=1e-9)
    assert abs(float(found.vector @ Q[0])) == pytest.approx(1, abs=1e-9)
    assert len(seen) == found.products
    assert seen[-1] == found.residual <= 1e-10
    true = float((A(found.vector[None])[0] - found.value * found.vector).norm()) / found.value
    assert true == pytest.approx(found.residual, abs=1e-12)
    assert -1e-12 <= found.second <= float(values.sort(descending=True).values[min(1, d - 1)]) + 1e-9


def test_the_residual_is_the_true_one_at_every_product() -> None:
    A, _ = spectrum(torch.linspace(0, 1, 80, dtype=torch.float64) ** 3)
    start = torch.randn(2, 80, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for tol in (0.3, 0.1, 1e-2, 1e-4, 1e-6):
        found = leading_eigenpair(A, start, tol, lambda residual: None)
        true = float((A(found.vector[None])[0] - found.value * found.vector).norm()) / found.value
        assert true == pytest.approx(found.residual, rel=1e-6, abs=1e-13)
        assert true <= tol
        assert float(found.vector.norm()) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("width", [1, 4, 7])
def test_a_basis_of_the_whole_space_is_the_end(width: int) -> None:
    A, _ = spectrum(torch.linspace(0, 1, 12, dtype=torch.float64))
    start = torch.randn(width, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = leading_eigenpair(A, start, 0.0, lambda residual: None)
    assert found.products == -(-12 // width)
    assert found.value == pytest.approx(1, abs=1e-12)


def test_a_crowded_spectrum_is_refused_and_a_zero_matrix_is_not() -> None:
    crowd = 1 + torch.linspace(0, 1e-2, 4 * MAX_BASIS, dtype=torch.float64)
    start = torch.randn(16, len(crowd), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with pytest.raises(ValidationError, match=r"stopped after 20 products with residual .* Raise defense\.tol"):
        leading_eigenpair(lambda v: v * crowd, start, 1e-9, lambda residual: None)
    zero = leading_eigenpair(torch.zeros_like, start, 1e-4, lambda residual: None)
    assert (zero.value, zero.residual, zero.products) == (0, 0, 1)


def test_rows_without_a_gradient_score_zero() -> None:
    """Beyond the margin a hinge loss is flat; and a class of one row is its own mean."""
    game = GAMES["svm"]
    view = game.defender()
    flat = {name: torch.zeros_like(value) for name, value in game.fit(view.train).items()}
    flat["linear.bias"][0] = 5.0
    rows = view.train.rows(view.train.y == 0)
    scored = Sever(per_class=False).score(replace(view, train=rows), flat, stage())
    assert not bool(scored.values.any())
    assert (scored.stats["singular_value"], scored.stats["gap"]) == (0, 0)
    weights = game.fit(view.train)
    lonely = view.train.rows(
        torch.cat([torch.nonzero(view.train.y > 0).flatten(), torch.nonzero(view.train.y == 0)[0]])
    )
    values = Sever().score(replace(view, train=lonely), weights, stage()).values
    assert float(values[-1]) < 1e-10 * float(values.max())


@settings(max_examples=100, deadline=None)
@given(
    scores=st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]) | st.floats(-10, 10), min_size=1, max_size=40),
    data=st.data(),
)
def test_exactly_the_quota_goes_whatever_ties(scores: list[float], data: st.DataObject) -> None:
    quota = data.draw(st.integers(0, len(scores)))
    values = torch.tensor(scores)
    dropped = top(values, quota)
    gone = torch.zeros(len(scores), dtype=torch.bool)
    gone[dropped] = True
    assert len(dropped) == int(gone.sum()) == quota
    if 0 < quota < len(scores):
        assert values[gone].min() >= values[~gone].max()
        tied = torch.nonzero(values == values[gone].min()).flatten().tolist()
        taken = [row for row in tied if gone[row]]
        assert taken == tied[: len(taken)]  # of equal scores, the earlier rows


@pytest.mark.parametrize("model", ["lr", "svm", "nn"])
def test_loss_scores_are_the_samples_losses(model: str) -> None:
    game = Game(model=model)
    view = game.defender()
    weights = game.fit(view.train)
    found = LossDefense().score(view, weights, stage()).values
    for i in range(len(view.train)):
        row = view.train.rows(torch.tensor([i]))
        logits = view.model.forward(weights, view.model.normalise(row.x))[0]
        y = int(row.y)
        if model == "svm":
            expected = max(0.0, 1 + max(float(s) for j, s in enumerate(logits) if j != y) - float(logits[y]))
        else:
            expected = float(torch.logsumexp(logits, 0) - logits[y])
        assert float(found[i]) == pytest.approx(expected, abs=1e-5)  # float32, losses of order 1


@register("brightness")
@dataclass(frozen=True)
class Brightness(FilterDefense):
    """Score = mean pixel: known without a model."""

    def score(self, view: DefenderView, weights: Weights, stage: Stage) -> Scores:
        return Scores(view.train.x.mean((1, 2, 3)))


@dataclass(frozen=True)
class Broken(Brightness):
    """Scores that are no scores."""

    def score(self, view: DefenderView, weights: Weights, stage: Stage) -> Scores:
        return Scores(super().score(view, weights, stage).values.log() * float("inf"))


register("broken-scores")(Broken)


@pytest.mark.parametrize("rounds", [1, 3])
def test_a_filter_drops_its_quota_every_round_and_trains_on_what_is_left(rounds: int) -> None:
    game = Game()
    view, trained = game.defender(), []

    def train(samples: Samples, procedure: Procedure | None = None) -> Weights:
        trained.append(samples)
        return game.fit(samples, procedure)

    defended = Brightness(fraction=0.1, rounds=rounds).defend(view, train, stage())
    n, quota = len(view.train), int(0.1 * len(view.train))
    brightest = view.train.x.mean((1, 2, 3)).argsort(descending=True)
    expected = torch.ones(n, dtype=torch.bool)
    expected[brightest[: quota * rounds]] = False
    assert torch.equal(defended.kept, expected)
    assert [len(part) for part in trained] == [n - quota * k for k in range(rounds + 1)]
    assert torch.equal(trained[-1].x, view.train.x[expected])
    assert defended.scores is not None
    assert torch.equal(defended.scores, view.train.x.mean((1, 2, 3)))
    fresh = game.fit(view.train.rows(expected))
    assert all(torch.equal(defended.predictor[name], fresh[name]) for name in fresh)


def test_a_filter_refuses_bad_scores_and_a_class_that_would_be_gone() -> None:
    game = Game()
    view = game.defender()
    with pytest.raises(ValidationError, match="one finite score a row"):
        Broken().defend(view, game.fit, stage())
    bright = torch.where(view.train.y[:, None, None, None] == 2, 1.0, view.train.x)  # class 2 is a quarter of the rows
    lost = DefenderView(
        Samples(bright, view.train.y, view.train.ids), view.trusted, view.model, view.recipe, view.classes
    )
    with pytest.raises(ValidationError, match=r"removed every row of class 2: .* Lower defense\.fraction"):
        Brightness(fraction=0.35).defend(lost, game.fit, stage())


@pytest.mark.parametrize(
    "fields", [{"fraction": 0.0}, {"fraction": 0.5, "rounds": 2}, {"rounds": 0}, {"fraction": -0.1, "rounds": -2}]
)
def test_fractions_that_leave_nothing_are_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="fraction"):
        LossDefense(**fields)
