"""pGAN: a generative adversarial net whose generator also plays against the victim's classifier."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from poisonbench.attacks.base import Attack
from poisonbench.attacks.pgan.conditional_gan import gan_for
from poisonbench.attacks.pgan.game import ThreePlayers
from poisonbench.attacks.pgan.weight_adam import adam_step, moments
from poisonbench.errors import ConfigError, DivergedError
from poisonbench.models.base import Model
from poisonbench.plugins.registry import register
from poisonbench.problem.budget import Budget
from poisonbench.problem.field_checks import check_integers, check_numbers
from poisonbench.problem.samples import PoisonSet, Weights
from poisonbench.problem.threat import ThreatModel
from poisonbench.problem.views import AttackerView
from poisonbench.stages.stage import Stage
from poisonbench.training import descend


@register("pgan")
@dataclass(frozen=True)
class PGAN(Attack):
    """Points that a generator makes to look like their class to a discriminator and to raise a classifier's loss.

        min_G max_{D, C}  α V(D, G | Y_p) + (1 − α) W(C, G),    W = −[λ E ℓ_C(G(z | y), y) + (1 − λ) E ℓ_C(x, y)]

    with V a conditional GAN's value on the classes Y_p, C the victim's model from its clean weights on, and λ the
    poison fraction n_poison / (n_train + n_poison). Every step D climbs V, C climbs W, and G descends the sum, on
    minibatches; in the end one pass of G makes all points. A point is labelled as the class y that it was made to look
    like. It is made from nothing, so there is no row whose label it could be said to keep: not declared clean-label.

    Departures: Y_p are all classes, y with their frequencies in D_tr, since the drop is over all classes and other
    frequencies would give the poison away. G descends −α E log D for α E log(1 − D), whose gradient vanishes while D
    wins (`generator_loss=minimax` is the objective's own). D and C climb V and W without the factors α and 1 − α, which
    change neither's maximum. The players of a step share one draw of z. There is no public code: networks
    (conditional_gan.py), step sizes and their number are ours. C takes plain gradient steps, without the recipe's
    momentum or decay. Within a radius G's images are projected to it around rows of D_tr of their class.

    α and (1 − α) λ are the weights in G's loss: with α far above λ the points are harmless images of their class, far
    below D finds them all.

    Fields:
        alpha: stealth, the weight α of V; 1 is a plain conditional GAN, 0 the classifier's game alone.
        steps: steps of each player.
        batch_size: rows of a minibatch; 0 takes the recipe's.
        latent: numbers in z.
        lr_g: G's step size (Adam, β = 0.5, 0.999).
        lr_d: D's.
        lr_c: C's; 0 takes the recipe's.
        generator_loss: non-saturating or minimax.
        Y_p: poisoned classes; empty for all.
    """

    version: ClassVar[int] = 1
    threat = ThreatModel()
    paper = "munoz2019poisoning"
    formulation = "generative adversarial"
    cost = "steps gradients of each of G, D and C on a minibatch; independent of epsilon"

    alpha: float = 0.03
    steps: int = 3000
    batch_size: int = 128
    latent: int = 100
    lr_g: float = 0.001
    lr_d: float = 0.001
    lr_c: float = 0.0
    generator_loss: Literal["non-saturating", "minimax"] = "non-saturating"
    Y_p: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise ConfigError(f"attack.alpha: expected a number in [0, 1], got {self.alpha}.")
        check_integers(self, steps=1, batch_size=0, latent=1)
        check_numbers(self, "> 0", "lr_g", "lr_d")
        check_numbers(self, "≥ 0", "lr_c")

    def ready_for(self, model: Model) -> None:
        """See Attack."""
        if not set(self.Y_p) <= set(range(model.classes)):
            raise ConfigError(f"attack.Y_p: expected classes of D_tr, 0 to {model.classes - 1}, got {self.Y_p}.")

    def craft(self, view: AttackerView, budget: Budget, stage: Stage) -> PoisonSet:
        """See Attack."""
        self.ready_for(view.model)
        gan = gan_for(view.model.shape, view.classes, self.latent)
        game = ThreePlayers(gan, view.model, budget, self.alpha, self.generator_loss == "minimax")
        poisoned = self._poisoned(view)
        theta, phi, w = self._play(game, view, poisoned, stage)

        order = torch.randperm(len(poisoned), generator=stage.generator)
        rows = poisoned[order[torch.arange(budget.n_poison) % len(order)].to(stage.device)]
        start = view.train.rows(rows)
        with torch.no_grad():
            x = game.images(theta, self._noise(len(rows), stage), start)
            stats = {
                "poison_loss": float(game.poison_loss(w, (x, start.y))),
                "discriminator_on_poison": float(torch.sigmoid(gan.scores(phi, x, start.y)).mean()),
            }
        self._refuse_divergence(stats, self.steps)
        return PoisonSet(x, start.y, torch.full_like(rows, -1) if budget.bound is None else rows, stats)

    def _play(
        self, game: ThreePlayers, view: AttackerView, poisoned: Tensor, stage: Stage
    ) -> tuple[Weights, Weights, Weights]:
        """The game on rows `poisoned` of D_tr, whose classes are Y_p; returns θ, φ and w."""
        gan, model, train = game.gan, game.model, view.train
        z, everything = model.normalise(train.x), torch.arange(len(train), device=stage.device)
        size, lr_c = self.batch_size or view.recipe.batch_size, self.lr_c or view.recipe.lr
        fresh = {"G": gan.init_generator(stage.generator), "D": gan.init_discriminator(stage.generator)}
        state = {f"C/{name}": value.clone() for name, value in view.weights.items()}
        for player, weights in fresh.items():
            kept = weights | moments(weights)
            state |= {f"{player}/{name}": value.to(stage.device) for name, value in kept.items()}

        for step in stage.steps("pgan", self.steps, state):
            theta, phi = (_leaves(state, player, weights) for player, weights in fresh.items())
            w = _leaves(state, "C", view.weights, model.buffers)
            parameters = list(model.parameters(w).values())
            genuine, start = (train.rows(_some(poisoned, size, stage)) for _ in range(2))
            clean = _some(everything, size, stage)
            made = game.images(theta, self._noise(size, stage), start)
            shown = made.detach(), start.y

            V = game.value(phi, (genuine.x, genuine.y), shown)
            adam_step(phi, state, "D", torch.autograd.grad(-V, list(phi.values())), self.lr_d, step)
            W = -game.classifier_loss(w, (z[clean], train.y[clean]), shown)
            descend(parameters, list(torch.autograd.grad(-W, parameters)), lr_c)
            loss = game.generator_loss(phi, w, (made, start.y))
            adam_step(theta, state, "G", torch.autograd.grad(loss, list(theta.values())), self.lr_g, step)

            found = {"V": float(V.detach()), "W": float(W.detach()), "loss": float(loss.detach())}
            self._refuse_divergence(found, step + 1)
            stage.report(**found)
        theta, phi = (_leaves(state, player, weights) for player, weights in fresh.items())
        return theta, phi, _leaves(state, "C", view.weights, model.buffers)

    def _poisoned(self, view: AttackerView) -> Tensor:
        """The rows of D_tr whose class is in Y_p."""
        classes = set(self.Y_p or range(view.classes))
        rows = torch.nonzero(torch.isin(view.train.y, view.train.y.new_tensor(sorted(classes)))).flatten()
        if len(rows) == 0:
            raise ConfigError(f"attack.Y_p: D_tr has no row of {self.Y_p}.")
        return rows

    def _noise(self, count: int, stage: Stage) -> Tensor:
        return torch.randn(count, self.latent, generator=stage.generator).to(stage.device)

    def _refuse_divergence(self, found: dict[str, float], step: int) -> None:
        if not all(math.isfinite(value) for value in found.values()):
            figures = ", ".join(f"{name} {value:g}" for name, value in found.items())
            raise DivergedError(
                f"pgan diverged: {figures} at step {step} of {self.steps}. Lower attack.lr_c, lr_g or lr_d."
            )


def _leaves(state: Weights, player: str, like: Weights, frozen: frozenset[str] = frozenset()) -> Weights:
    """A player's weights in the loop's state; all but the frozen ones require gradients."""
    return {name: state[f"{player}/{name}"].requires_grad_(name not in frozen) for name in like}


def _some(rows: Tensor, count: int, stage: Stage) -> Tensor:
    """A draw of `count` of the rows, with repetition."""
    return rows[torch.randint(len(rows), (count,), generator=stage.generator).to(stage.device)]
