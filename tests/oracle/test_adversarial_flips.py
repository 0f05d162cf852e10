"""Adversarial label flips: the order of rows written plainly, and the harm done against all subsets of a toy SVM's
rows."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import torch
from torch import Tensor

from poisonbench.attacks.adversarial_flips import confidences, dual_variables, flip_order, random_pull
from poisonbench.attacks.evaluation import retrained_accuracy
from poisonbench.attacks.flips import flipped_to_worst
from poisonbench.attacks.label_flip import LabelFlip
from poisonbench.models.margin import multiclass_hinge
from poisonbench.problem.recipe import Recipe
from poisonbench.problem.samples import PoisonSet
from poisonbench.problem.views import AttackerView
from poisonbench.seeding import child_generator
from poisonbench.stages.stage import Stage
from poisonbench.testing import Game
from poisonbench.training import train

ADVERSARIAL = LabelFlip(flip="adversarial")


def seen(game: Game) -> tuple[AttackerView, Tensor]:
    """The attacker's view, and the label that each row would be flipped to."""
    view = game.attacker(ADVERSARIAL.threat)
    return view, flipped_to_worst(view.model, view.weights, view.train.x, view.train.y)


def test_dual_variables_are_support_vectors_or_what_is_left_to_learn() -> None:
    for name in ("svm", "lr"):
        view, _ = seen(Game(model=name))
        logits = view.model.predict(view.weights, view.train.x)
        found = dual_variables(view.model, logits, view.train.y)
        if name == "svm":
            expected = (multiclass_hinge(logits, view.train.y) > 0).float()
            assert set(expected.tolist()) == {0.0, 1.0}
        else:
            expected = 1 - torch.softmax(logits, 1).gather(1, view.train.y[:, None]).squeeze(1)
        torch.testing.assert_close(found, expected)


def test_a_random_pull_is_the_margin_under_the_random_model() -> None:
    view, flipped = seen(Game(model="svm", n_train=12, epsilon=0.25))
    found = random_pull(view.model, view.train, flipped, torch.Generator().manual_seed(3))
    alpha = torch.rand(12, generator=torch.Generator().manual_seed(3)).tolist()
    z = view.model.normalise(view.train.x).double()
    own = [
        sum(alpha[j] * float(z[j] @ z[i]) for j in range(12) if int(view.train.y[j]) == label)
        for i in range(12)
        for label in (int(view.train.y[i]), int(flipped[i]))
    ]
    margins = [a - b for a, b in zip(own[::2], own[1::2], strict=True)]
    expected = torch.tensor([margin / max(map(abs, margins)) for margin in margins])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_rows_that_are_no_support_vectors_come_first_and_those_far_away_before_others() -> None:
    view, flipped = seen(Game(model="svm"))
    logits = view.model.predict(view.weights, view.train.x)
    supports = dual_variables(view.model, logits, view.train.y)
    order = flip_order(view.model, view.weights, view.train, flipped, 0.1, torch.Generator().manual_seed(0))
    assert torch.equal(supports[order], supports.sort().values)
    network, flipped = seen(Game(model="nn"))  # no random part
    logits = network.model.predict(network.weights, network.train.x)
    order = flip_order(network.model, network.weights, network.train, flipped, 1e6, torch.Generator())
    far = confidences(logits, network.train.y, flipped)
    assert torch.equal(
        order, (-1e6 * far + dual_variables(network.model, logits, network.train.y)).argsort(stable=True)
    )


def test_of_several_ways_to_pull_the_one_is_kept_that_leaves_least() -> None:
    game = Game(model="svm")
    view, flipped = seen(game)
    stage, sets = Stage(child_generator(0, "attack")), []
    for index in range(4):
        order = flip_order(view.model, view.weights, view.train, flipped, 0.1, stage.generator)[:6]
        sets.append(PoisonSet(view.train.x[order], flipped[order], order))
        sets[-1] = replace(sets[-1], stats={"left": retrained_accuracy(view, sets[-1], stage, f"retrain {index}")})
    least = min(sets, key=lambda one: float(one.stats["left"]))
    attack = replace(ADVERSARIAL, repetitions=4)
    found = attack.craft(view, game.budget(attack.threat), Stage(child_generator(0, "attack")))
    assert len({tuple(one.source.tolist()) for one in sets}) > 1
    assert torch.equal(found.source, least.source)
    assert found.stats["validation_accuracy"] == least.stats["left"]


def test_on_a_toy_svm_few_subsets_of_rows_do_more_harm() -> None:
    """Against every way to flip two of eighteen rows: the validation hinge after training to the minimum."""
    game = Game(model="svm", classes=2, n_train=18, n_validation=400, epsilon=0.12)
    view = game.attacker(ADVERSARIAL.threat)
    recipe = Recipe(lr=0.1, batch_size=18, epochs=100, weight_decay=0.01)
    weights = train(view.model, view.train, recipe, Stage(child_generator(0, "train")), "train")
    view = replace(view, recipe=recipe, weights=weights)
    flipped = 1 - view.train.y
    attack = replace(ADVERSARIAL, repetitions=20)
    found = attack.craft(view, game.budget(attack.threat), Stage(child_generator(0, "attack")))
    pairs = torch.tensor([*combinations(range(18), 2), sorted(found.source.tolist())])
    *every, ours = minimum(view, pairs, flipped).tolist()
    assert len(found) == 2
    assert sum(one > ours + 1e-6 for one in every) < 0.15 * len(every)


def minimum(view: AttackerView, added: Tensor, flipped: Tensor) -> Tensor:
    """The hinge loss on D_v of the SVMs of two classes that are trained to their minimum, with a little decay, on D_tr
    and copies of the rows `added`, (sets, rows), with flipped labels: (sets,)."""

    def affine(x: Tensor) -> Tensor:
        z = view.model.normalise(x).double()
        return torch.cat([z, z.new_ones(len(z), 1)], 1)

    z, sign = affine(view.train.x), (2 * view.train.y - 1).double()
    Z = torch.cat([z.expand(len(added), -1, -1), z[added]], 1)
    Y = torch.cat([sign.expand(len(added), -1), (2 * flipped[added] - 1).double()], 1)
    w = Z.new_zeros(len(added), Z.shape[2])
    for step in range(400):
        violated = ((Z @ w[:, :, None]).squeeze(2) * Y < 1).double()
        slope = -((violated * Y)[:, :, None] * Z).mean(1) + 0.01 * w
        w = w - 0.5 / (1 + 0.1 * step) * slope
    margins = affine(view.validation.x) @ w.T * (2 * view.validation.y - 1).double()[:, None]
    return (1 - margins).clamp(min=0).mean(0)
