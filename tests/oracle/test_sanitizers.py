"""The sanitizers against loops in NumPy, scikit-learn and SciPy.

Both sides of a comparison run in float64 unless it says otherwise. Scores are of order 1 to 10. A relative 1e-8 leaves
singular vectors room to lose the ratio of σ₁² to a gap of squares, an absolute 1e-7 rows that lie in their subspace.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.stats import ortho_group
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from poisonbench.defenses.sanitizers.base import Sanitizer
from poisonbench.defenses.sanitizers.knn import KNN
from poisonbench.defenses.sanitizers.l2 import L2
from poisonbench.defenses.sanitizers.nearest_neighbours import nearest_neighbours
from poisonbench.defenses.sanitizers.singular_vectors import right_singular_vectors
from poisonbench.defenses.sanitizers.slab import Slab
from poisonbench.defenses.sanitizers.spectral_signatures import SpectralSignatures
from poisonbench.defenses.sanitizers.svd import SVD
from poisonbench.errors import ConfigError, StageTimeoutError
from poisonbench.plugins.registry import configure
from poisonbench.seeding import child_generator
from poisonbench.stages.stage import Deadline, Stage
from poisonbench.testing import Game

Array = np.ndarray
PIXELS = SpectralSignatures(space="pixels")
EVERY = {
    "l2": L2(),
    "l2-median": L2(centre="median"),
    "slab": Slab(),
    "knn": KNN(),
    "knn-sum": KNN(measure="sum"),
    "knn-disagreement": KNN(measure="disagreement"),
    "knn-per-class": KNN(per_class=True, k=2),
    "svd": SVD(),
    "svd-uncentred": SVD(centred=False),
    "svd-per-class": SVD(per_class=True, energy=0.8),
    "spectral-signatures": PIXELS,
}
every = pytest.mark.parametrize("name", EVERY)


def stage() -> Stage:
    return Stage(child_generator(0, "defense"))


def scores(defense: Sanitizer, x: Array, y: Array) -> Array:
    return defense.anomaly(torch.from_numpy(x), torch.from_numpy(y), stage()).values.numpy()


@st.composite
def clouds(draw: st.DrawFn) -> tuple[Array, Array]:
    """Points and labels: few or many, of any dimension, with lone rows, repeated rows, constant columns, an offset."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, d, classes = draw(st.integers(1, 40)), draw(st.integers(1, 12)), draw(st.integers(1, 4))
    x = rng.normal(size=(n, d)) * rng.uniform(0.1, 2, size=d) + draw(st.sampled_from([0.0, 10.0]))
    if draw(st.booleans()):
        x = x[rng.integers(n, size=n)]
    if draw(st.booleans()):
        x[:, rng.integers(d)] = 0.3
    return x, rng.integers(classes, size=n)


def members(x: Array, y: Array, i: int) -> Array:
    return x[y == y[i]]


def naive_l2(x: Array, y: Array, defense: L2) -> Array:
    centre = np.mean if defense.centre == "mean" else np.median
    return np.array([np.linalg.norm(x[i] - centre(members(x, y, i), axis=0)) for i in range(len(x))])


def naive_slab(x: Array, y: Array, _: Slab) -> Array:
    found = np.zeros(len(x))
    for i in range(len(x)):
        mu = members(x, y, i).mean(0)
        others = [x[y == label].mean(0) for label in np.unique(y) if label != y[i]]
        if others:
            beta = mu - np.mean(others, axis=0)
            length = np.linalg.norm(beta)
            found[i] = abs((x[i] - mu) @ beta) / length if length > 1e-6 else np.nan  # no direction but rounding
    return found


def naive_knn(x: Array, y: Array, defense: KNN) -> Array:
    apart = cdist(x, x)
    found = np.zeros(len(x))
    for i in range(len(x)):
        rows = [j for j in range(len(x)) if j != i and (y[j] == y[i] or not defense.per_class)]
        near = sorted(rows, key=lambda j: apart[i, j])[: defense.k]
        if near:
            distances = apart[i, near]
            found[i] = {
                "distance": distances[-1],
                "sum": distances.sum(),
                "disagreement": np.mean(y[near] != y[i]),
            }[defense.measure]
    return found


def naive_residual(x: Array, energy: float, centred: bool) -> tuple[Array, int]:
    """Distances from the subspace, and its dimension."""
    if centred:
        x = x - x.mean(0)
    _, sigma, vt = np.linalg.svd(x)
    part = np.cumsum(sigma**2)
    k = next(k for k in range(1, len(sigma) + 1) if part[k - 1] >= energy * part[-1])
    return np.linalg.norm(x - x @ vt[:k].T @ vt[:k], axis=1), k


def naive_svd(x: Array, y: Array, defense: SVD) -> Array:
    found = np.zeros(len(x))
    for label in np.unique(y) if defense.per_class else [None]:
        rows = (y == label) if defense.per_class else np.ones(len(x), dtype=bool)
        found[rows], _ = naive_residual(x[rows], defense.energy, defense.centred)
    return found


def naive_spectral(x: Array, y: Array, _: SpectralSignatures) -> Array:
    found = np.zeros(len(x))
    for label in np.unique(y):
        centred = x[y == label] - x[y == label].mean(0)
        found[y == label] = (centred @ np.linalg.svd(centred)[2][0]) ** 2
    return found


NAIVE = {L2: naive_l2, Slab: naive_slab, KNN: naive_knn, SVD: naive_svd, SpectralSignatures: naive_spectral}


@every
@settings(max_examples=40, deadline=None)
@given(cloud=clouds())
def test_scores_are_those_of_the_definition(name: str, cloud: tuple[Array, Array]) -> None:
    defense, (x, y) = EVERY[name], cloud
    if name == "knn-disagreement":  # of neighbours equally far any may be meant
        x = x + np.random.default_rng(0).normal(size=x.shape) * 1e-3
    expected = NAIVE[type(defense)](x, y, defense)
    assume(np.isfinite(expected).all())
    np.testing.assert_allclose(scores(defense, x, y), expected, rtol=1e-8, atol=1e-7)


@pytest.fixture(scope="module")
def digits() -> tuple[Array, Array]:
    """Real images in production's precision. Pixels and distances are of order 1."""
    data = load_digits()
    return (data.data / 16).astype(np.float32), data.target


@pytest.mark.parametrize("k", [1, 5])
def test_neighbours_of_real_digits(k: int, digits: tuple[Array, Array]) -> None:
    x, y = digits
    distances, near = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(x.astype(np.float64)).kneighbors()
    np.testing.assert_allclose(scores(KNN(k=k), x, y), distances[:, -1], rtol=1e-5)
    np.testing.assert_allclose(scores(KNN(k=k, measure="sum"), x, y), distances.sum(1), rtol=1e-5)
    disagreement = scores(KNN(k=k, measure="disagreement"), x, y)
    assert np.mean(np.abs(disagreement - (y[near] != y[:, None]).mean(1)) > 1e-6) < 0.005  # two equally far neighbours


def test_subspaces_and_centroids_of_real_digits(digits: tuple[Array, Array]) -> None:
    x, y = digits
    pca = PCA(n_components=0.95, svd_solver="full").fit(x.astype(np.float64))
    residual = x - pca.inverse_transform(pca.transform(x.astype(np.float64)))
    found = SVD().anomaly(torch.from_numpy(x), torch.from_numpy(y), stage())
    assert found.stats == {"k": pca.n_components_}
    np.testing.assert_allclose(found.values.numpy(), np.linalg.norm(residual, axis=1), rtol=1e-5)
    x, y = x[:300], y[:300]  # the loops are slow
    for defense in (L2(), Slab(), PIXELS):
        expected = NAIVE[type(defense)](x.astype(np.float64), y, defense)
        np.testing.assert_allclose(scores(defense, x, y), expected, rtol=1e-4, atol=1e-4 * expected.max())


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), per_class=st.booleans())
def test_invariances(seed: int, per_class: bool) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(36, 6)) * [3, 2, 1.5, 1, 0.7, 0.5], np.arange(36) % 3
    methods: list[Sanitizer] = [L2(), Slab(), KNN(per_class=per_class), SVD(per_class=per_class), PIXELS]
    close = {"rtol": 1e-6, "atol": 1e-7}
    rotation, order = ortho_group.rvs(6, random_state=rng), rng.permutation(36)
    for defense in methods:
        found = scores(defense, x, y)
        np.testing.assert_allclose(scores(defense, x @ rotation, y), found, **close)
        np.testing.assert_allclose(scores(defense, x + 5.0, y), found, **close)
        np.testing.assert_allclose(scores(defense, x[order], y[order]), found[order], **close)
        np.testing.assert_allclose(scores(defense, x, 7 - 2 * y), found, **close)  # other names, in another order
        degree = 2 if defense is PIXELS else 1
        np.testing.assert_allclose(scores(defense, 3 * x, y), 3**degree * found, **close)
        # Moving whole classes changes what looks across them: the slab's β, and neighbours and subspaces of all rows.
        apart = scores(defense, x + rng.normal(size=(3, 6))[y] * 20, y)
        across = isinstance(defense, Slab) or (isinstance(defense, KNN | SVD) and not per_class)
        assert np.allclose(apart, found, **close) != across


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_slab_of_two_classes_is_the_papers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(30, 4)), np.arange(30) % 2
    mu = np.array([x[y == 0].mean(0), x[y == 1].mean(0)])
    paper = np.abs((x - mu[y]) @ (mu[1] - mu[0]))
    np.testing.assert_allclose(scores(Slab(), x, y) * np.linalg.norm(mu[1] - mu[0]), paper, rtol=1e-9, atol=1e-12)


def test_a_row_is_not_its_own_neighbour_but_its_duplicates_are() -> None:
    x, y = np.array([[0.0], [0.0], [5.0], [7.0]]), np.zeros(4, dtype=np.int64)
    assert scores(KNN(k=1), x, y).tolist() == [0, 0, 2, 2]
    assert scores(KNN(k=2), x, y).tolist() == [5, 5, 5, 7]
    assert scores(KNN(k=2, measure="sum"), x, y).tolist() == [5, 5, 7, 9]
    assert scores(KNN(k=9), x, y).tolist() == [7, 7, 5, 7]  # three others are all there are
    assert scores(KNN(k=3, measure="disagreement"), x, np.array([0, 1, 1, 1])).tolist() == [1, 1 / 3, 1 / 3, 1 / 3]
    assert scores(KNN(k=2, per_class=True), x, np.array([0, 1, 1, 2])).tolist() == [0, 5, 5, 0]
    crowd = np.repeat(np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32), 6, axis=0)
    assert not scores(KNN(k=5), crowd, np.zeros(42, dtype=np.int64)).any()  # exactly, in float32
    assert scores(KNN(k=6), crowd, np.zeros(42, dtype=np.int64)).all()


def test_an_offset_costs_no_precision() -> None:
    """In float32 the squared norms are 1e8 of the squared distances: uncentred, their differences would be noise."""
    grid = torch.arange(400.0).reshape(20, 20, 1, 1).expand(20, 20, 1, 1)
    x = torch.cat([grid.reshape(-1, 1) // 20, grid.reshape(-1, 1) % 20], dim=1) + 8192.0
    distances, _ = nearest_neighbours(x, 4, lambda: None)
    inner = ((x > 8192) & (x < 8211)).all(1)
    assert int(inner.sum()) == 18 * 18
    assert bool((distances[inner] == 1).all())


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_chunks_make_no_difference(chunk: int) -> None:
    x = torch.randn(50, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ticks = []
    distances, near = nearest_neighbours(x, 3, lambda: ticks.append(1), chunk)
    whole, whole_near = nearest_neighbours(x, 3, lambda: None, chunk=50)
    assert torch.equal(near, whole_near)
    torch.testing.assert_close(distances, whole, rtol=1e-12, atol=0.0)
    torch.testing.assert_close(distances, torch.linalg.vector_norm(x[near] - x[:, None], dim=2), rtol=1e-12, atol=0.0)
    assert len(ticks) == -(-50 // chunk)
    squares, vectors = right_singular_vectors(x, chunk)
    torch.testing.assert_close(squares.sqrt(), torch.linalg.svdvals(x), rtol=1e-10, atol=0.0)
    torch.testing.assert_close(torch.linalg.vector_norm(x @ vectors, dim=0), squares.sqrt(), rtol=1e-10, atol=0.0)
    torch.testing.assert_close(vectors.T @ vectors, torch.eye(6, dtype=torch.float64), rtol=0.0, atol=1e-12)


@every
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nothing_to_see_scores_nothing(name: str, dtype: type) -> None:
    """Constant images, a lone row, a lone class: finite, and zero to rounding where nothing differs."""
    y = np.array([0, 0, 0, 1, 1, 2])
    same = scores(EVERY[name], np.full((6, 5), 0.3, dtype=dtype), y)
    if name != "knn-disagreement":
        assert np.abs(same).max() < 1e-6
    lone = scores(EVERY[name], np.random.default_rng(0).random((6, 5)).astype(dtype), y)
    assert np.isfinite(lone).all()
    if name in ("l2", "slab", "knn-per-class", "svd-per-class", "spectral-signatures"):
        assert lone[-1] < 1e-6
    assert np.isfinite(scores(EVERY[name], np.eye(1, 5, dtype=dtype), np.array([3]))).all()


@pytest.mark.parametrize("model", ["lr", "nn", "cnn"])
@pytest.mark.parametrize("name", ["l2", "spectral-signatures"])
def test_features_are_the_models(model: str, name: str) -> None:
    game = Game(model=model, shape=(2, 4, 4), n_train=24)
    view = game.defender()
    weights = game.fit(view.train)
    defense = replace(EVERY[name], space="features")
    features = view.model.embed(weights, view.train.x)
    assert defense.uses_model
    assert not EVERY[name].uses_model
    expected = defense.anomaly(features, view.train.y, stage()).values
    assert torch.equal(defense.score(view, weights, stage()).values, expected)
    assert torch.equal(features, view.model.normalise(view.train.x).flatten(1)) == (model == "lr")
    pixels = EVERY[name].anomaly(view.train.x.flatten(1), view.train.y, stage()).values
    assert torch.equal(EVERY[name].score(view, {}, stage()).values, pixels)


def test_the_defaults_are_the_papers() -> None:
    assert all((defense.balanced, defense.space) == (True, "pixels") for defense in (L2(), Slab(), KNN(), SVD()))
    assert (SpectralSignatures().balanced, SpectralSignatures().space) == (True, "features")
    assert (KNN().k, KNN().measure, SVD().energy) == (5, "distance", 0.95)


@pytest.mark.parametrize(
    ("cls", "fields", "message"),
    [
        (KNN, {"k": 0}, r"defense\.k: expected an integer ≥ 1, got 0"),
        (KNN, {"measure": "disagreement", "per_class": True}, r"defense\.per_class: expected false"),
        (SVD, {"energy": 1.0}, r"defense\.energy: expected a number in \(0, 1\), got 1\.0"),
        (SVD, {"energy": 0.0}, r"defense\.energy"),
        (L2, {"space": "pixel"}, r"defense\.space: .*'pixels' or 'features'"),
        (Slab, {"fraction": 1.0}, r"defense\.fraction"),
    ],
)
def test_wrong_fields(cls: type[Sanitizer], fields: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        configure(cls, fields, "defense")


def test_the_deadline_is_kept() -> None:
    with pytest.raises(StageTimeoutError, match="nearest neighbours passed its deadline"):
        KNN().anomaly(torch.rand(9, 3), torch.zeros(9, dtype=torch.int64), replace(stage(), deadline=Deadline(at=0.0)))
