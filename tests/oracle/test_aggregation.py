"""Aggregation: buckets that no other row moves, and certificates that no change within them breaks."""

from __future__ import annotations

from itertools import accumulate, combinations, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from poisonbench.defenses.aggregation.certificate import certified_rows
from poisonbench.defenses.aggregation.dpa import DPA
from poisonbench.defenses.aggregation.ensemble import Aggregation
from poisonbench.defenses.aggregation.finite_aggregation import FiniteAggregation
from poisonbench.defenses.aggregation.partitions import buckets, in_order
from poisonbench.errors import ConfigError
from poisonbench.models.base import Model
from poisonbench.plugins.registry import load
from poisonbench.problem.predictor import models_of, winners
from poisonbench.problem.procedure import Procedure
from poisonbench.problem.recipe import Recipe
from poisonbench.problem.samples import Samples, Weights
from poisonbench.problem.views import DefenderView
from poisonbench.seeding import child_generator
from poisonbench.stages.stage import Stage
from poisonbench.training import train

RECIPE = Recipe(lr=1.0, batch_size=4, epochs=4)


def drawn(n: int, seed: int, classes: int = 2) -> Samples:
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(n, 1, 1, 2, generator=generator)
    return Samples(x, (x[:, 0, 0, 0] * classes).long(), torch.arange(n))


def model() -> Model:
    built: Model = load("model", "lr")((1, 1, 2), 2, (0.5,), (0.5,))
    return built


def fit(samples: Samples, procedure: Procedure | None = None) -> Weights:
    return train(model(), samples, RECIPE, Stage(child_generator(0, "train")), "train", procedure)


def votes(defense: Aggregation, rows: Samples, x: torch.Tensor) -> torch.Tensor:
    view = DefenderView(rows, rows.none(), model(), RECIPE, 2)
    defended = defense.defend(view, fit, Stage(child_generator(0, "defense")))
    return torch.stack([model().predict(weights, x).argmax(1) for weights in models_of(defended.predictor)])


# Buckets


@given(seed=st.integers(0, 1000), n=st.integers(1, 40), count=st.integers(2, 20))
@settings(max_examples=30, deadline=None)
def test_a_rows_bucket_depends_on_its_image_alone(seed: int, n: int, count: int) -> None:
    rows = drawn(n, seed)
    found = buckets(rows, count)
    assert bool(((found >= 0) & (found < count)).all())
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    flipped = Samples(rows.x[order], 1 - rows.y[order], torch.zeros(n, dtype=torch.int64))
    assert torch.equal(buckets(flipped, count), found[order])
    assert torch.equal(buckets(rows.plus(drawn(5, seed + 1)), count)[:n], found)


def test_buckets_are_of_about_equal_size() -> None:
    """Images of two grey levels too, whose sums of pixels are few: 20,000 rows in 50 buckets, 400 ± 20 each."""
    images = torch.rand(20_000, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(len(images), dtype=torch.int64)
    for x in (images, images.round(), (images * 16).round() / 16, images.double().round()):
        sizes = buckets(Samples(x, labels, labels), 50).bincount(minlength=50)
        assert 320 < int(sizes.min()) <= int(sizes.max()) < 480


def test_the_order_within_a_bucket_is_the_rows_own() -> None:
    rows = drawn(30, 0)
    shuffled = rows.rows(torch.randperm(30, generator=torch.Generator().manual_seed(1)))
    first, second = (part.rows(in_order(part, torch.arange(30))) for part in (rows, shuffled))
    assert torch.equal(first.x, second.x)
    assert torch.equal(first.y, second.y)
    assert not torch.equal(first.x, rows.x)


def test_each_model_is_trained_on_its_buckets() -> None:
    """Every bucket goes to d models, and a model's rows are a k-th of them all, not by hash of where they stand."""
    defense, rows = FiniteAggregation(k=3, d=2), drawn(60, 3)
    given_to: list[set[int]] = []

    def watched(samples: Samples, procedure: Procedure | None = None) -> Weights:
        given_to.append(set(samples.ids.tolist()))
        return fit(samples)

    view = DefenderView(rows, rows.none(), model(), RECIPE, 2)
    defense.defend(view, watched, Stage(child_generator(0, "defense")))
    assert len(given_to) == 6
    assert all(sum(row in part for part in given_to) == 2 for row in range(60))
    bucket = buckets(rows, 6).tolist()
    for row in range(60):
        models = {number for number, part in enumerate(given_to) if row in part}
        assert models == {(bucket[row] + int(offset)) % 6 for offset in defense.offsets}


# Certificates


@given(data=st.data(), models=st.integers(2, 7), classes=st.integers(2, 4))
@settings(max_examples=60, deadline=None)
def test_one_offset_is_the_closed_form_and_tight(data: st.DataObject, models: int, classes: int) -> None:
    """Against every way for r models to vote otherwise: the answer stands for the certified r, and not for one more."""
    cast = data.draw(st.lists(st.integers(0, classes - 1), min_size=models, max_size=models))
    vote = torch.tensor(cast)[:, None]
    winner = int(winners(vote, classes)[0])
    certified = int(certified_rows(vote, classes, torch.zeros(1, dtype=torch.int64))[0])
    total = vote[:, 0].bincount(minlength=classes).tolist()
    others = [j for j in range(classes) if j != winner]
    assert certified == min((total[winner] - total[j] - (j < winner)) // 2 for j in others)
    assert not _can_change(cast, classes, certified, [{m} for m in range(models)])
    assert _can_change(cast, classes, certified + 1, [{m} for m in range(models)])


@given(data=st.data(), models=st.integers(2, 6), classes=st.integers(2, 3))
@settings(max_examples=60, deadline=None)
def test_no_change_within_a_certificate_of_several_offsets_turns_an_answer(
    data: st.DataObject, models: int, classes: int
) -> None:
    cast = data.draw(st.lists(st.integers(0, classes - 1), min_size=models, max_size=models))
    offsets = data.draw(st.lists(st.integers(0, models - 1), min_size=1, max_size=models, unique=True))
    certified = int(certified_rows(torch.tensor(cast)[:, None], classes, torch.tensor(offsets))[0])
    reach = [{(bucket + offset) % models for offset in offsets} for bucket in range(models)]
    assert not _can_change(cast, classes, certified, reach)


def test_several_offsets_are_summed_over_the_models_that_a_bucket_reaches() -> None:
    """By the definition, one bucket after the other. If buckets reached backwards, other models would fall together."""
    generator, offsets = torch.Generator().manual_seed(0), [0, 1, 3]
    cast = torch.randint(10, (13, 400), generator=generator) * (torch.rand(13, 400, generator=generator) > 0.4)
    found: dict[int, list[int]] = {1: [], -1: []}
    for votes in cast.T.tolist():
        counted = [votes.count(label) for label in range(10)]
        c = counted.index(max(counted))
        for sign, numbers in found.items():
            least = 13
            for j in range(10):
                if j != c:
                    gains = [1 + (vote == c) - (vote == j) for vote in votes]
                    reached = [sum(gains[(b + sign * offset) % 13] for offset in offsets) for b in range(13)]
                    worst = accumulate(sorted(reached, reverse=True))
                    least = min(least, sum(taken <= counted[c] - counted[j] - (j < c) for taken in worst))
            numbers.append(least)
    assert certified_rows(cast, 10, torch.tensor(offsets)).tolist() == found[1]
    assert found[-1] != found[1]


def _can_change(cast: list[int], classes: int, rows: int, reach: list[set[int]]) -> bool:
    """Whether models that so many buckets reach can vote so that another label wins: every way."""
    before = int(winners(torch.tensor(cast)[:, None], classes)[0])
    for hit in combinations(range(len(cast)), min(rows, len(cast))):
        free = sorted(set().union(*(reach[bucket] for bucket in hit))) if hit else []
        ways = []
        for way in product(range(classes), repeat=len(free)):
            turned = list(cast)
            for model_number, label in zip(free, way, strict=True):
                turned[model_number] = label
            ways.append(turned)
        if bool((winners(torch.tensor(ways).T, classes) != before).any()):
            return True
    return False


@pytest.mark.parametrize("defense", [DPA(k=7), FiniteAggregation(k=5, d=2)], ids=["dpa", "finite-aggregation"])
def test_no_insertion_or_removal_breaks_a_certificate(defense: Aggregation) -> None:
    """Every eighth row removed, and 12 other points with either label inserted, one and two at a time: what is
    certified keeps its answer, and something is certified against two."""
    rows, pool, x = drawn(80, 0), drawn(12, 1), drawn(60, 2).x
    before = votes(defense, rows, x)
    answer, certified = winners(before, 2), defense.certify(before, 2, len(rows))
    assert 0 < int((certified >= 2).sum()) < len(x)
    points = pool.plus(Samples(pool.x, 1 - pool.y, pool.ids))
    changes: list[tuple[int, Samples]] = [
        (1, rows.rows(torch.tensor([row for row in range(80) if row != gone]))) for gone in range(0, 80, 8)
    ]
    changes += [(1, rows.plus(points.rows(torch.tensor([one])))) for one in range(0, 24, 2)]
    changes += [(2, rows.plus(points.rows(torch.tensor(two)))) for two in list(combinations(range(24), 2))[::19]]
    moved = 0
    for number, changed in changes:
        after = winners(votes(defense, changed, x), 2)
        moved += int((after != answer).sum())
        assert bool((after == answer)[certified >= number].all()), f"{number} rows broke a certificate"
    assert moved  # the changes do change answers


@pytest.mark.parametrize(
    ("cls", "fields"), [(DPA, {"k": 1}), (FiniteAggregation, {"k": 1}), (FiniteAggregation, {"d": 0})]
)
def test_what_makes_no_ensemble_is_refused(cls: type[Aggregation], fields: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=f"defense.{next(iter(fields))}: expected an integer"):
        cls(**fields)
