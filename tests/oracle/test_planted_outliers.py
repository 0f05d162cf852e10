"""Outliers planted where each sanitizer can see them, and where it is blind.

They are five of a class's hundred rows, images of sixteen pixels; pixel 0 tells the classes apart.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import ortho_group

from poisonbench.defenses.sanitizers.base import Sanitizer
from poisonbench.defenses.sanitizers.knn import KNN
from poisonbench.defenses.sanitizers.l2 import L2
from poisonbench.defenses.sanitizers.slab import Slab
from poisonbench.defenses.sanitizers.spectral_signatures import SpectralSignatures
from poisonbench.defenses.sanitizers.svd import SVD
from poisonbench.problem.procedure import Procedure
from poisonbench.problem.samples import Samples, Weights
from poisonbench.seeding import child_generator
from poisonbench.stages.stage import Stage
from poisonbench.testing import Game

Array = np.ndarray
PIXELS = SpectralSignatures(space="pixels")


def stage() -> Stage:
    return Stage(child_generator(0, "defense"))


def scores(defense: Sanitizer, x: Array, y: Array) -> Array:
    return defense.anomaly(torch.from_numpy(x), torch.from_numpy(y), stage()).values.numpy()


def clean(rng: np.random.Generator, spread: float = 0.02) -> tuple[Array, Array, Array]:
    """Two classes with noise, and which rows are to become outliers."""
    y = np.arange(200) % 2
    x = 0.5 + spread * rng.normal(size=(200, 16))
    x[:, 0] += 0.2 * (2 * y - 1)
    return x, y, np.arange(200) % 40 < 2


def found(defense: Sanitizer, x: Array, y: Array, outliers: Array) -> float:
    """Precision of what goes, which is also its recall; nothing is trained on the way."""

    def train(samples: Samples, procedure: Procedure | None = None) -> Weights:
        raise AssertionError("scores from pixels need no model")

    images = torch.from_numpy(x).float().reshape(-1, 1, 4, 4)
    samples = Samples(images, torch.from_numpy(y), torch.arange(len(y)))
    view = replace(Game(classes=2).defender(), train=samples)
    removed = ~replace(defense, fraction=0.05).select(view, train, stage()).kept.numpy()
    assert removed.sum() == outliers.sum()
    return float((removed & outliers).sum() / removed.sum())


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_far_from_the_centroid_but_not_towards_the_other_class(rng: np.random.Generator) -> None:
    x, y, outliers = clean(rng)
    x[outliers, 5:] += rng.choice([-0.1, 0.1], size=(10, 11))
    assert found(L2(), x, y, outliers) == 1
    assert found(L2(centre="median"), x, y, outliers) == 1
    assert found(KNN(), x, y, outliers) == 1
    assert found(Slab(), x, y, outliers) < 0.3  # blind: the shift is orthogonal to β


def test_far_along_the_line_between_the_centroids(rng: np.random.Generator) -> None:
    x, y, outliers = clean(rng, spread=0.08)
    x[:, 0] = 0.5 + 0.3 * (2 * y - 1) + 0.01 * rng.normal(size=200)
    x[outliers, 0] += 0.1
    assert found(Slab(), x, y, outliers) == 1
    assert found(L2(), x, y, outliers) < 0.3  # lost in the noise of fifteen other pixels


def test_alone_in_the_middle_of_a_class(rng: np.random.Generator) -> None:
    x, y, outliers = clean(rng)
    x[:, 3] += rng.choice([-0.4, 0.4], size=200)
    x[outliers, 3] = 0.5
    x[outliers, 6:] += rng.choice([-0.05, 0.05], size=(10, 10))
    assert found(KNN(), x, y, outliers) == 1
    assert found(KNN(measure="sum"), x, y, outliers) == 1
    assert found(L2(), x, y, outliers) == 0  # nothing is nearer to the centroid


def test_copies_of_one_point(rng: np.random.Generator) -> None:
    x, y, outliers = clean(rng)
    for label in (0, 1):
        x[outliers & (y == label), 5:9] = 0.9
    assert found(L2(), x, y, outliers) == 1
    assert found(PIXELS, x, y, outliers) == 1
    x[outliers] = 0.9
    assert found(KNN(), x, y, outliers) == 0  # blind: ten copies are each other's neighbours


def test_off_the_plane_of_the_data(rng: np.random.Generator) -> None:
    _, y, outliers = clean(rng)
    plane = ortho_group.rvs(16, random_state=rng)
    x = 0.5 + rng.uniform(-0.4, 0.4, size=(200, 3)) @ plane[:3] + 0.002 * rng.normal(size=(200, 16))
    off, together = x.copy(), x.copy()
    off[outliers] += 0.05 * plane[3:13]
    assert found(SVD(), off, y, outliers) == 1
    assert found(L2(), off, y, outliers) < 0.3
    together[outliers] += 2 * plane[3]
    assert found(SVD(), together, y, outliers) < 0.3  # blind: their own direction becomes one of the subspace
    assert found(L2(), together, y, outliers) == 1


def test_a_subpopulation_of_one_class(rng: np.random.Generator) -> None:
    x, y, outliers = clean(rng)
    x[:, 1] += 0.1 * rng.normal(size=200) * (y == 0)  # class 0 varies otherwise, and most along pixel 1
    x[outliers & (y == 1), 5:] += 0.06
    x[outliers & (y == 0), 1] = 0.5 + 0.4 * rng.choice([-1, 1], size=5)
    assert found(PIXELS, x, y, outliers) == 1
    x[outliers & (y == 0), 1] = 0.5
    x[outliers & (y == 0), 5:] += 0.06
    assert found(PIXELS, x, y, outliers) == pytest.approx(0.5, abs=0.1)  # blind where the class varies more elsewhere


def test_wrong_labels(rng: np.random.Generator) -> None:
    x, y, outliers = clean(rng)
    flipped = np.where(outliers, 1 - y, y)
    for defense in (KNN(measure="disagreement"), L2(), Slab()):
        assert found(defense, x, flipped, outliers) == 1
    for defense in (KNN(), SVD()):  # blind: labels are not looked at
        assert np.array_equal(scores(defense, x, flipped), scores(defense, x, y))
    assert found(KNN(per_class=True, k=6), x, flipped, outliers) == 1  # the five others of a class are no six


def test_the_median_stands_where_the_mean_is_dragged(rng: np.random.Generator) -> None:
    x, y, outliers = clean(rng)
    x[outliers] += 30.0
    rest = ~outliers & (y == 0)
    assert scores(L2(centre="median"), x, y)[rest].max() < 0.3 < scores(L2(), x, y)[rest].min()
