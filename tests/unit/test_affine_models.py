"""Closed forms of linear models are for logits W z + b and the losses that they know, not for every subclass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from poisonbench.attacks.kkt.attack import KKT
from poisonbench.attacks.model_targeted.attack import ModelTargeted
from poisonbench.defenses.influence.defense import Influence
from poisonbench.defenses.roni import RONI
from poisonbench.defenses.trim import Trim
from poisonbench.errors import ConfigError
from poisonbench.models.base import Model
from poisonbench.models.linear import LinearModel, is_affine
from poisonbench.models.linear_losses import has_hinge, linear_loss
from poisonbench.models.lr import LogisticRegression
from poisonbench.models.nn import NeuralNetwork
from poisonbench.models.smooth_hinge import SmoothSVM, smoothed
from poisonbench.models.svm import LinearSVM
from poisonbench.problem.samples import Weights
from poisonbench.seeding import child_generator
from poisonbench.stages.stage import Stage
from poisonbench.testing import Game

IMAGES = (1, 4, 4), 4, (0.5,), (0.5,)


class Scaled(LinearModel):
    """Logits that are twice W z + b."""

    def forward(self, weights: Weights, z: Tensor, training: bool = False) -> Tensor:
        return 2 * super().forward(weights, z, training)


class ScaledSVM(LinearSVM):
    """The same under the hinge."""

    def forward(self, weights: Weights, z: Tensor, training: bool = False) -> Tensor:
        return 2 * super().forward(weights, z, training)


class Counted(LinearModel):
    """A buffer among the weights."""

    buffers = frozenset({"seen"})


class HingedNetwork(NeuralNetwork):
    """A network with the SVM's loss."""

    losses = LinearSVM.losses


class SquaredHinge(LinearSVM):
    """A loss of its own."""

    def losses(self, logits: Tensor, y: Tensor) -> Tensor:
        return super().losses(logits, y) ** 2


def stage() -> Stage:
    return Stage(child_generator(0, "stage"))


@pytest.mark.parametrize("kind", [LinearModel, LogisticRegression, LinearSVM, SmoothSVM, SquaredHinge])
def test_one_layer_is_affine_whatever_its_loss(kind: type[Model]) -> None:
    assert is_affine(kind(*IMAGES))


@pytest.mark.parametrize("kind", [Scaled, ScaledSVM, Counted, NeuralNetwork])
def test_other_logits_or_statistics_are_not(kind: type[Model]) -> None:
    assert not is_affine(kind(*IMAGES))


def test_a_loss_of_ones_own_is_no_hinge() -> None:
    assert has_hinge(LinearSVM(*IMAGES), "kkt")
    with pytest.raises(ConfigError, match="neither"):
        has_hinge(SquaredHinge(*IMAGES), "kkt")


def test_a_network_has_no_loss_of_a_linear_model() -> None:
    """So gradient canceling records no threshold of it, which is one of linear models."""
    assert [linear_loss(kind(*IMAGES)) for kind in (LinearSVM, LogisticRegression)] == ["hinge", "cross-entropy"]
    assert [linear_loss(kind(*IMAGES)) for kind in (HingedNetwork, NeuralNetwork)] == [None, None]


def test_only_the_hinge_of_one_layer_is_smoothed() -> None:
    """A smooth SVM in the place of the others would have other logits, or another loss."""
    assert isinstance(smoothed(LinearSVM(*IMAGES), 0.1), SmoothSVM)
    for model in (ScaledSVM(*IMAGES), SquaredHinge(*IMAGES), LogisticRegression(*IMAGES)):
        assert smoothed(model, 0.1) is model


def kkt(game: Game, model: Model) -> object:
    view = replace(game.attacker(KKT.threat), model=model)
    return KKT().craft(view, game.budget(KKT.threat), stage())


def model_targeted(game: Game, model: Model) -> object:
    view = replace(game.attacker(ModelTargeted.threat), model=model)
    return ModelTargeted().craft(view, game.budget(ModelTargeted.threat), stage())


def roni(game: Game, model: Model) -> object:
    return RONI().select(replace(game.defender(), model=model), lambda *_: {}, stage())


def trim(game: Game, model: Model) -> object:
    view = replace(game.defender(), model=model)
    return Trim().fit(view, lambda *_: {}, stage())


@pytest.mark.parametrize("method", [kkt, model_targeted, roni, trim])
def test_methods_with_closed_forms_refuse_other_logits(method: Callable[[Game, Model], object]) -> None:
    with pytest.raises(ConfigError, match="Use --model lr or svm"):
        method(Game(), Scaled(*IMAGES))


def test_the_self_influence_of_other_logits_is_that_of_the_dense_matrix() -> None:
    """gᵀ(H + λI)⁻¹g in float64, with g by autograd and H whole; the Krylov space of all 68 dimensions is exact but for
    its start's rounding, which 1e-6 covers."""
    game, model = Game(), Scaled(*IMAGES)
    view = replace(game.defender(), model=model)
    view = replace(view, train=replace(view.train, x=view.train.x.double()))
    weights = {name: value.double() for name, value in model.init(child_generator(0, "train")).items()}
    parameters = {name: weights[name] for name in sorted(weights)}
    flat = torch.cat([part.flatten() for part in parameters.values()])

    def losses(at: Tensor) -> Tensor:
        parts = at.split([part.numel() for part in parameters.values()])
        w = {name: part.view_as(like) for (name, like), part in zip(parameters.items(), parts, strict=True)}
        return model.losses(model.forward(w, model.normalise(view.train.x)), view.train.y)

    g = torch.autograd.functional.jacobian(losses, flat)
    H = torch.autograd.functional.hessian(lambda at: losses(at).mean(), flat) + 0.1 * torch.eye(len(flat)).double()
    expected = (g * torch.linalg.solve(H, g.T).T).sum(1)
    found = Influence(influence="self", damping=0.1, rank=len(flat)).score(view, weights, stage()).values
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)
