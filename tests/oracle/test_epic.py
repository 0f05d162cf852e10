"""EPIc: greedy facility location against nested loops, what is dropped against planted rows, and when."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from poisonbench.defenses import facility_location
from poisonbench.defenses.composed import Composed
from poisonbench.defenses.epic import EPIc, isolated
from poisonbench.defenses.facility_location import medoids
from poisonbench.defenses.loss import LossDefense
from poisonbench.errors import ConfigError
from poisonbench.plugins.registry import load
from poisonbench.problem.procedure import Procedure, State
from poisonbench.problem.samples import Samples, Weights
from poisonbench.seeding import child_generator
from poisonbench.stages.stage import Stage
from poisonbench.testing.game import Game


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def nested_loops(points: Tensor, k: int) -> tuple[list[int], list[int]]:
    """Every gain anew from its definition, c being larger than all distances, and every point's nearest medoid. Two
    neighbours that are far from all others tie."""
    n = len(points)
    apart = [[float(torch.linalg.vector_norm(points[i] - points[j])) for j in range(n)] for i in range(n)]
    c = 2.0 * max(map(max, apart)) + 1
    chosen: list[int] = []
    for _ in range(k):
        values = [sum(max(c - apart[i][j] for j in [*chosen, new]) for i in range(n)) for new in range(n)]
        chosen.append(next(new for new in range(n) if values[new] >= max(values) - 1e-6))
    return chosen, [min(range(k), key=lambda place: apart[i][chosen[place]]) for i in range(n)]


@given(n=st.integers(3, 30), d=st.integers(1, 4), seed=st.integers(0, 1000), chunked=st.booleans())
@settings(max_examples=30, deadline=None)
def test_greedy_facility_location_is_what_nested_loops_find(n: int, d: int, seed: int, chunked: bool) -> None:
    """Whether distances are kept or computed a few rows at a time. On a line many
    gains tie: there points are integers."""
    points, k = torch.randn(n, d, generator=drawn(seed)), max(1, n // 3)
    points = points if d > 1 else (100 * points).round()
    with pytest.MonkeyPatch.context() as patch:
        if chunked:
            patch.setattr(facility_location, "CHUNK", 2 * n)
            patch.setattr(facility_location, "KEPT", 0)
        chosen, owner = medoids(points, k)
    assert (chosen.tolist(), owner.tolist()) == nested_loops(points, k)


def test_points_that_are_equal_need_one_medoid() -> None:
    points = torch.tensor([[0.0], [0.0], [0.0], [1.0], [1.0]])
    chosen, owner = medoids(points, 4)
    assert (chosen.tolist(), owner.tolist()) == ([0, 3], [0, 0, 0, 1, 1])
    chosen, owner = medoids(torch.ones(3, 2), 2)
    assert (chosen.tolist(), owner.tolist()) == ([0], [0, 0, 0])


def test_rows_alone_go_and_clusters_stay() -> None:
    """Of each class four tight clusters of ten, and two rows far from all; a pair goes with a threshold of two."""
    generator = drawn()
    centres = torch.randn(4, 3, generator=generator)
    spread = centres.repeat_interleave(10, 0) + 0.001 * torch.randn(40, 3, generator=generator)
    lone = torch.tensor([[9.0, 0.0, 0.0], [0.0, 9.0, 0.0], [0.0, 0.0, 9.0], [0.0, 0.01, 9.0]])
    points, y = torch.cat([spread, lone] * 2), torch.arange(2).repeat_interleave(44)
    for threshold, gone in ((1, [40, 41]), (2, [40, 41, 42, 43])):
        found = isolated(points, y, EPIc(medoids=7 / 44 + 1e-6, threshold=threshold), lambda: None)
        assert torch.nonzero(found).flatten().tolist() == gone + [44 + row for row in gone]
    assert not bool(isolated(points, y, EPIc(medoids=0.02), lambda: None).any())  # no medoid of 44 rows


class Watched(Procedure):
    """EPIc, with the rows of every epoch and the weights before it written down."""

    def __init__(self, inner: Procedure) -> None:
        self.inner = inner
        self.seen: list[tuple[Weights, Tensor]] = []

    def state(self, samples: Samples) -> State:
        return self.inner.state(samples)

    def epoch(self, number: int, weights: Weights, state: State, generator: torch.Generator) -> Tensor | None:
        chosen = self.inner.epoch(number, weights, state, generator)
        assert chosen is not None
        self.seen.append(({name: value.detach().clone() for name, value in weights.items()}, chosen.clone()))
        return chosen


@pytest.mark.parametrize("name", ["lr", "svm", "nn"])
def test_what_goes_is_isolated_by_the_gradients_of_that_epoch(name: str) -> None:
    """Gradients in the logits in closed form: P − Y, or the hinge's ±1."""
    game = Game(model=name)
    view, defense = game.defender(), EPIc(medoids=0.4, warmup=0.4)
    watched = Watched(defense.procedure(view, game.fit, Stage(child_generator(0, "defense"))))
    game.fit(view.train, watched)
    assert bool(watched.seen[0][1].all())
    assert bool(watched.seen[1][1].all())
    weights, left = watched.seen[2]
    logits = view.model.predict(weights, view.train.x)
    labels = torch.nn.functional.one_hot(view.train.y, 4).float()
    if name == "svm":
        rival = (logits - 9e9 * labels).argmax(1)
        active = 1 + (logits * (torch.nn.functional.one_hot(rival, 4) - labels)).sum(1) > 0
        gradients = (torch.nn.functional.one_hot(rival, 4) - labels) * active[:, None]
    else:
        gradients = torch.softmax(logits, 1) - labels
    gone = torch.zeros(len(left), dtype=torch.bool)
    for label in range(4):
        group = torch.nonzero(view.train.y == label).flatten()
        _, owner = nested_loops(gradients[group], int(0.4 * len(group)))
        gone[group] = torch.tensor([owner.count(place) == 1 for place in owner])
    assert name == "svm" or bool(gone.any())
    assert torch.equal(left, ~gone)


def test_rows_that_went_stay_away_and_the_rest_is_clustered_anew() -> None:
    game = Game(n_train=120)
    view, defense = game.defender(), EPIc(medoids=0.3, warmup=0.0, until=1.0)
    watched = Watched(defense.procedure(view, game.fit, Stage(child_generator(0, "defense"))))
    game.fit(view.train, watched)
    counts = [int(left.sum()) for _, left in watched.seen]
    assert counts[0] == len(view.train) > counts[1] > counts[2]
    assert bool((watched.seen[1][1] | ~watched.seen[2][1]).all())


def test_its_epochs_are_those_of_the_authors_code() -> None:
    long = EPIc(warmup=0.15, until=0.75)
    assert [number for number in range(40) if EPIc().looks(number, 40)] == list(range(10, 36, 2))
    assert [number for number in range(200) if long.looks(number, 200)] == list(range(30, 151, 10))
    assert [number for number in range(3) if EPIc().looks(number, 3)] == [1, 2]


def test_it_trains_on_what_a_filter_leaves() -> None:
    game, view = Game(), Game().defender()
    filtered = LossDefense(fraction=0.1).select(view, game.fit, Stage(child_generator(0, "defense")))
    both = Composed((LossDefense(fraction=0.1), EPIc(medoids=0.4)))
    found = both.defend(view, game.fit, Stage(child_generator(0, "defense")))
    assert torch.equal(found.kept, filtered.kept)
    rest = view.rows(torch.nonzero(filtered.kept).flatten())
    alone = EPIc(medoids=0.4).defend(rest, game.fit, Stage(child_generator(0, "defense"))).predictor
    assert isinstance(found.predictor, dict)
    assert isinstance(alone, dict)
    assert all(torch.equal(found.predictor[name], alone[name]) for name in alone)
    plain = game.fit(rest.train)
    assert not all(torch.equal(plain[name], alone[name]) for name in alone)


@pytest.mark.parametrize(
    "fields", [{"medoids": 1.0}, {"every": 0.0}, {"warmup": 1.0}, {"until": 0.2}, {"threshold": 0}], ids=str
)
def test_wrong_fields_are_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=rf"defense\.{next(iter(fields))}: expected"):
        load("defense", "epic")(**fields)
