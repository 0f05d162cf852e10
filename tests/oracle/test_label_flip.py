"""Label flips: which labels, how many, and the worst class by brute force; and the hinge loss by an explicit loop."""

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from poisonbench.attacks.label_flip import LabelFlip
from poisonbench.errors import BudgetError, ConfigError
from poisonbench.models.margin import best_other_class, multiclass_hinge
from poisonbench.problem.samples import PoisonSet
from poisonbench.problem.threat import Knowledge
from poisonbench.problem.views import AttackerView
from poisonbench.seeding import child_generator
from poisonbench.stages.stage import Stage
from poisonbench.testing import Game


def craft(attack: LabelFlip, game: Game, seed: int = 0) -> tuple[PoisonSet, AttackerView]:
    view = game.attacker(attack.threat)
    return attack.craft(view, game.budget(attack.threat), Stage(child_generator(seed, "attack"))), view


@pytest.mark.parametrize("flip", ["rule", "random", "worst"])
def test_rows_are_copies_of_distinct_training_rows(flip: str) -> None:
    poison, view = craft(LabelFlip(flip=flip), Game(epsilon=0.25))
    assert len(poison) == 15
    assert len(set(poison.source.tolist())) == 15
    assert torch.equal(poison.x, view.train.x[poison.source])
    assert bool((poison.y != view.train.y[poison.source]).all())


@pytest.mark.parametrize("classes", [2, 3, 4, 5, 10])
def test_the_rule_is_c_minus_1_minus_y_and_moves_every_label(classes: int) -> None:
    """For odd C the middle class is its own image and is not drawn; D_tr has as many rows of each class."""
    game = Game(classes=classes, n_train=60, epsilon=0.5)
    poison, view = craft(LabelFlip(), game)
    assert torch.equal(poison.y, classes - 1 - view.train.y[poison.source])
    assert bool((poison.y != view.train.y[poison.source]).all())
    if classes % 2:
        assert classes // 2 not in poison.y.tolist()
    everything = Game(classes=classes, n_train=60, epsilon=(60 - (60 // classes if classes % 2 else 0)) / 60)
    poison, _ = craft(LabelFlip(), everything)
    expected = {label: 60 // classes for label in range(classes) if 2 * label != classes - 1}
    assert Counter(poison.y.tolist()) == expected  # the histogram, turned round


def test_the_rule_refuses_more_points_than_it_can_move() -> None:
    with pytest.raises(BudgetError, match="only 40 rows can be flipped, 60 are wanted"):
        craft(LabelFlip(), Game(classes=3, epsilon=1.0))


def test_random_labels_are_wrong_and_uniform() -> None:
    """Of 3 wrong classes each has a third; 1200 fixed draws, p-value of the chi-square statistic above 1 %."""
    game = Game(n_train=1200, epsilon=1.0)
    poison, view = craft(LabelFlip(flip="random"), game)
    shift = (poison.y - view.train.y[poison.source]) % 4
    counts = Counter(shift.tolist())
    assert counts.keys() == {1, 2, 3}
    assert chisquare(list(counts.values())).pvalue > 0.01


def test_random_labels_follow_the_class_weights() -> None:
    weights = (0.0, 1.0, 2.0, 5.0)
    poison, view = craft(LabelFlip(flip="random", class_weights=weights), Game(n_train=2000, epsilon=1.0))
    own = view.train.y[poison.source]
    assert 0 not in poison.y.tolist()
    for label in range(4):
        drawn = Counter(poison.y[own == label].tolist())
        chances = {j: weights[j] for j in range(4) if j != label and weights[j] > 0}
        assert drawn.keys() == chances.keys()
        expected = [500 * chance / sum(chances.values()) for chance in chances.values()]
        assert chisquare([drawn[j] for j in chances], expected).pvalue > 0.01


@pytest.mark.parametrize("model", ["lr", "svm", "nn", "cnn"])
def test_the_worst_class_is_that_of_a_search(model: str) -> None:
    """Linear models: the wrong class of largest score (so of smallest hinge loss, equation 38); networks: the wrong
    class of largest loss, as the paper suggests."""
    game = Game(model=model, epsilon=0.5)
    poison, view = craft(LabelFlip(flip="worst"), game)
    logits = view.model.predict(view.weights, poison.x)
    for i, source in enumerate(poison.source.tolist()):
        own = int(view.train.y[source])
        wrong = [label for label in range(4) if label != own]
        if view.model.linear:
            hinge = {j: float(multiclass_hinge(logits[i : i + 1], torch.tensor([j]))) for j in wrong}
            scores = {j: float(logits[i, j]) for j in wrong}
            assert int(poison.y[i]) == max(scores, key=scores.__getitem__)
            assert hinge[int(poison.y[i])] <= min(hinge.values()) + 1e-6
        else:
            losses = {j: float(view.model.losses(logits[i : i + 1], torch.tensor([j]))) for j in wrong}
            assert int(poison.y[i]) == max(losses, key=losses.__getitem__)


def test_only_the_worst_class_needs_the_model() -> None:
    assert LabelFlip(flip="worst").threat.knowledge is Knowledge.TRAINING_ONLY
    for flip in ("rule", "random"):
        threat = LabelFlip(flip=flip).threat
        assert threat.knowledge is Knowledge.TRAINING_DATA_ONLY
        view = Game().attacker(threat)
        assert not view.weights
        assert len(view.validation) == 0


@pytest.mark.parametrize(
    ("attack", "match"),
    [
        ({"flip": "random", "class_weights": (1.0, -1.0, 1.0, 1.0)}, "weights ≥ 0"),
        ({"flip": "rule", "class_weights": (1.0, 1.0)}, "belongs to attack.flip=random"),
        ({"flip": "random", "class_weights": (1.0, 0.0)}, "at least two classes"),
    ],
)
def test_class_weights_that_make_no_sense_are_refused(attack: dict[str, object], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        LabelFlip(**attack)


def test_as_many_class_weights_as_classes() -> None:
    with pytest.raises(ConfigError, match="expected 4 weights, got 2"):
        craft(LabelFlip(flip="random", class_weights=(1.0, 1.0)), Game())


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 12), classes=st.integers(2, 7), coarse=st.booleans())
def test_multiclass_hinge_by_a_loop(seed: int, n: int, classes: int, coarse: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(n, classes, generator=generator, dtype=torch.float64)
    logits = logits.round() if coarse else logits  # rounded: ties
    y = torch.randint(classes, (n,), generator=generator)
    found, others = multiclass_hinge(logits, y), best_other_class(logits, y)
    for i in range(n):
        rivals = [float(logits[i, j]) for j in range(classes) if j != int(y[i])]
        assert float(found[i]) == max(0.0, 1 + max(rivals) - float(logits[i, y[i]]))
        assert int(others[i]) != int(y[i])
        assert float(logits[i, others[i]]) == max(rivals)


def test_multiclass_hinge_gradient() -> None:
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: multiclass_hinge(s, torch.arange(6) % 4), (logits,))
