"""The controls against what they stand for: copies are bit-equal to their sources, and trusted rows alone are trained
on."""

from dataclasses import replace

import pytest
import torch

from poisonbench.attacks.clean_copies import CleanCopies
from poisonbench.defenses.base import Defense, known_to, refuse_unsound_kept
from poisonbench.defenses.composed import Composed
from poisonbench.defenses.loss import LossDefense
from poisonbench.defenses.none import NoDefense
from poisonbench.defenses.perfect_filter import PerfectFilter
from poisonbench.defenses.random_filter import RandomFilter
from poisonbench.defenses.trusted_only import TrustedOnly
from poisonbench.errors import ValidationError
from poisonbench.problem.procedure import Procedure
from poisonbench.problem.samples import Samples, Weights
from poisonbench.seeding import child_generator
from poisonbench.stages.stage import Stage
from poisonbench.testing import Game


def stage(name: str = "attack", seed: int = 0) -> Stage:
    return Stage(child_generator(seed, name))


@pytest.mark.parametrize("epsilon", [0.02, 0.1, 0.5, 1.0])
def test_a_copy_is_its_source_bit_for_bit(epsilon: float) -> None:
    game = Game(epsilon=epsilon, radius=1e-3)
    view, budget = game.attacker(CleanCopies.threat), game.budget(CleanCopies.threat)
    poison = CleanCopies().craft(view, budget, stage())
    assert len(poison) == budget.n_poison == int(epsilon * 60 + 1e-9)
    assert torch.equal(poison.x, view.train.x[poison.source])
    assert torch.equal(poison.y, view.train.y[poison.source])
    assert len(set(poison.source.tolist())) == len(poison)
    seen = budget.verify(poison, view.train, "clean-copies")
    assert seen["n_poison"] == len(poison)
    storages = {poison.x.untyped_storage().data_ptr(), poison.y.untyped_storage().data_ptr()}
    assert not storages & {view.train.x.untyped_storage().data_ptr(), view.train.y.untyped_storage().data_ptr()}


def test_the_copied_rows_are_a_random_sample() -> None:
    game = Game(epsilon=0.1)
    view, budget = game.attacker(CleanCopies.threat), game.budget(CleanCopies.threat)
    draws = [CleanCopies().craft(view, budget, stage(seed=seed)).source for seed in range(400)]
    counts = torch.cat(draws).bincount(minlength=60)
    # 6 of 60 in each of 400 draws: 40 a row, standard deviation 6; 5 of them are seen once in 20,000 such tests.
    assert int((counts - 40).abs().max()) <= 30


def test_copies_keep_the_minimum_of_the_mean_loss_where_every_row_is_copied() -> None:
    """ε = 1 copies every row once: the mean gradient at any weights is that of the clean set."""
    game = Game(epsilon=1.0)
    view = game.attacker(CleanCopies.threat)
    poison = CleanCopies().craft(view, game.budget(CleanCopies.threat), stage())
    model, weights = game.target(), game.fit(view.train)

    def gradient(x: torch.Tensor, y: torch.Tensor) -> Weights:
        leaves = {name: value.double().requires_grad_() for name, value in weights.items()}
        loss = model.loss(model.forward(leaves, model.normalise(x.double())), y)
        return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))

    clean = gradient(view.train.x, view.train.y)
    both = gradient(torch.cat([view.train.x, poison.x]), torch.cat([view.train.y, poison.y]))
    for name, value in clean.items():
        assert float((value - both[name]).abs().max()) < 1e-14  # float64, sums of 120 terms below 1


def test_trusted_only_is_the_training_on_those_rows() -> None:
    game = Game()
    view, asked = game.defender(), list[Samples]()

    def fit(samples: Samples, procedure: Procedure | None = None) -> Weights:
        assert procedure is None
        asked.append(samples)
        return game.fit(samples)

    defended = TrustedOnly().defend(known_to(TrustedOnly(), view), fit, stage("defense"))
    assert asked == [view.trusted]
    expected = game.fit(game.samples("validation", game.n_validation))
    assert all(torch.equal(value, expected[name]) for name, value in defended.predictor.items())
    assert (defended.kept.shape, int(defended.kept.sum()), defended.scores) == ((66,), 0, None)
    poisoned = replace(view, train=replace(view.train, x=torch.rand_like(view.train.x)))
    again = TrustedOnly().defend(poisoned, game.fit, stage("defense"))
    assert all(torch.equal(value, expected[name]) for name, value in again.predictor.items())


def test_the_random_filter_drops_every_row_as_often() -> None:
    game = Game()
    view = game.defender()
    removed = torch.zeros(66)
    for seed in range(400):
        selection = RandomFilter(fraction=0.1).select(view, game.fit, stage("defense", seed))
        assert int((~selection.kept).sum()) == 6
        removed += ~selection.kept
    # 6 of 66 in each of 400 draws: 36 a row, standard deviation 5.7.
    assert float((removed - 36.4).abs().max()) <= 28


def test_the_perfect_filter_is_the_training_on_the_other_rows_and_alone_is_told_which() -> None:
    game, oracle = Game(), PerfectFilter()
    mask = torch.arange(66) % 11 == 3
    view = replace(game.defender(), poison=mask)
    assert known_to(RandomFilter(), view).poison is None
    assert known_to(Composed((RandomFilter(), LossDefense())), view).poison is None
    defended = oracle.defend(known_to(oracle, view), game.fit, stage("defense"))
    assert torch.equal(defended.kept, ~mask)
    expected = game.fit(view.train.rows(~mask))
    assert all(torch.equal(value, expected[name]) for name, value in defended.predictor.items())
    nothing = oracle.defend(replace(view, poison=torch.zeros_like(mask)), game.fit, stage("defense"))
    assert bool(nothing.kept.all())


@pytest.mark.parametrize(
    ("defense", "kept", "refused"),
    [
        (TrustedOnly(), [False] * 4, False),
        (TrustedOnly(), [True, False, False, False], True),  # it did train on rows, and left a class out
        (NoDefense(), [False] * 4, True),
        (NoDefense(), [True] * 4, False),
        (NoDefense(), [True, False, True, False], False),
    ],
)
def test_only_a_defense_with_trusted_rows_may_keep_none(defense: Defense, kept: list[bool], refused: bool) -> None:
    y = torch.tensor([0, 0, 1, 1])
    if refused:
        with pytest.raises(ValidationError, match=rf"^{defense.name} removed every row of class [01]"):
            refuse_unsound_kept(defense, y, torch.tensor(kept))
    else:
        refuse_unsound_kept(defense, y, torch.tensor(kept))
