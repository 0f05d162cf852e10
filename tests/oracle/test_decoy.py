"""Decoys: which points are flipped, what they are trained on, which are kept."""

import itertools
from typing import Any

import pytest
import torch

from poisonbench.attacks import decoy, decoy_trials
from poisonbench.attacks.decoy import Candidate, candidates, flipped_low_margin, pareto_front, spread
from poisonbench.attacks.kkt.attack import KKT
from poisonbench.attacks.model_targeted.attack import ModelTargeted
from poisonbench.problem.samples import PoisonSet, Weights
from poisonbench.problem.threat import ThreatModel
from poisonbench.seeding import child_generator
from poisonbench.stages.stage import Stage
from poisonbench.testing import Game
from poisonbench.training import train


@pytest.mark.parametrize("model", ["lr", "nn"])
def test_the_lowest_margins_are_flipped_to_the_best_other_class(model: str) -> None:
    view = Game(model=model).attacker(ThreatModel())
    flipped = flipped_low_margin(view.model, view.weights, view.validation, 0.2)
    scores, y = view.model.predict(view.weights, view.validation.x).tolist(), view.validation.y.tolist()
    margins, others = [], []
    for row, own in zip(scores, y, strict=True):
        rivals = [score if label != own else float("-inf") for label, score in enumerate(row)]
        margins.append(row[own] - max(rivals))
        others.append(rivals.index(max(rivals)))
    expected = sorted(range(len(y)), key=margins.__getitem__)[:8]  # 0.2 of 40
    assert flipped.ids.tolist() == view.validation.ids[expected].tolist()
    assert flipped.y.tolist() == [others[row] for row in expected]
    assert torch.equal(flipped.x, view.validation.x[expected])


def test_a_decoy_from_scratch_is_trained_on_the_copies() -> None:
    """The same bits as `train` on D_tr followed by r copies of the flipped points."""
    view = Game().attacker(ThreatModel())
    (found,) = candidates(view, (0.25,), (3,), 0, Stage(child_generator(0, "decoy")))
    flipped = flipped_low_margin(view.model, view.weights, view.validation, 0.25)
    rows = view.train
    for _ in range(3):
        rows = rows.plus(flipped)
    expected = train(view.model, rows, view.recipe, Stage(child_generator(0, "decoy")), "train")
    assert found.weights.keys() == expected.keys()
    assert all(torch.equal(found.weights[name], expected[name]) for name in expected)


def test_a_decoys_figures() -> None:
    view = Game().attacker(ThreatModel())
    (found,) = candidates(view, (0.5,), (8,), 20, Stage(child_generator(0, "decoy")))
    logits = view.model.predict(found.weights, view.train.x)
    assert found.train_loss == pytest.approx(float(torch.nn.functional.cross_entropy(logits, view.train.y)))
    right = view.model.predict(found.weights, view.validation.x).argmax(1) == view.validation.y
    assert found.validation_error == pytest.approx(1 - float(right.float().mean()), abs=1e-6)
    assert (found.quantile, found.repetitions) == (0.5, 8)


def test_more_flips_err_more() -> None:
    view = Game().attacker(ThreatModel())
    found = candidates(view, (0.5,), (1, 30), 50, Stage(child_generator(0, "decoy")))
    assert found[1].validation_error > found[0].validation_error
    assert found[1].train_loss > found[0].train_loss


def test_the_front_is_what_nothing_beats() -> None:
    generator = torch.Generator().manual_seed(0)
    figures = torch.randint(0, 6, (40, 2), generator=generator).tolist()
    found = [Candidate({}, 0.1, 1, loss, error) for loss, error in figures]
    front = {(one.train_loss, one.validation_error) for one in pareto_front(found)}
    expected = {
        (loss, error)
        for loss, error in map(tuple, figures)
        if not any(other[0] <= loss and other[1] >= error and other != (loss, error) for other in map(tuple, figures))
    }
    assert front == expected
    assert len(pareto_front(found)) == len(front)
    errors = [one.validation_error for one in pareto_front(found)]
    assert errors == sorted(errors, reverse=True)


def test_spread() -> None:
    front = [Candidate({}, 0.1, r, 0.0, 0.0) for r in range(7)]
    for count, expected in ((1, [0]), (2, [0, 6]), (3, [0, 3, 6]), (9, list(range(7)))):
        assert [one.repetitions for one in spread(front, count)] == expected
    for n, count in itertools.product(range(1, 6), range(1, 6)):
        assert len(spread(front[:n], count)) == min(n, count)


@pytest.mark.parametrize("method", [KKT, ModelTargeted])
def test_every_attempt_aims_at_its_decoy(method: type[KKT | ModelTargeted], monkeypatch: pytest.MonkeyPatch) -> None:
    """The targets are the weights of the decoys on the front, one after the other, and no others."""
    made: list[Candidate] = []
    aimed: list[Weights] = []

    def candidates(*arguments: Any) -> list[Candidate]:
        made.extend(decoy.candidates(*arguments))
        return made

    def toward(self: KKT | ModelTargeted, target: Weights, *_: Any) -> PoisonSet:
        aimed.append(target)
        return PoisonSet(view.train.x[:6], view.train.y[:6], torch.arange(6))

    monkeypatch.setattr(decoy_trials, "candidates", candidates)
    monkeypatch.setattr(method, "toward", toward)
    small, attack = Game(), method(quantiles=(0.25, 0.5), repetitions=(1, 8), decoy_epochs=2, trials=3)
    view, budget = small.attacker(attack.threat), small.budget(attack.threat)
    attack.craft(view, budget, Stage(child_generator(0, "attack")))
    expected = decoy.spread(decoy.pareto_front(made), 3)
    assert len(expected) > 1
    assert [id(target) for target in aimed] == [id(one.weights) for one in expected]
