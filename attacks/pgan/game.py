"""The game of pGAN: generator, discriminator and classifier, and what each of them does in one step."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from poisonbench.attacks.pgan.conditional_gan import ConditionalGAN
from poisonbench.models.base import Model
from poisonbench.problem.budget import Budget
from poisonbench.problem.samples import Samples, Weights

Rows = tuple[Tensor, Tensor]
"""Images, (n, …), and labels, (n,)."""


@dataclass(frozen=True)
class ThreePlayers:
    """The game min_G max_{D, C} α V(D, G) + (1 − α) W(C, G) with

        V = E log D(x | y) + E log(1 − D(G(z | y) | y)),    W = −[λ E ℓ_C(G(z | y), y) + (1 − λ) E ℓ_C(x, y)].

    Attributes:
        gan: G and D.
        model: C.
        budget: box and radius of what G makes, and λ.
        alpha: α.
        saturating: whether G descends E log(1 − D(G(z | y) | y)) as V has it, or else −E log D(G(z | y) | y).
    """

    gan: ConditionalGAN
    model: Model
    budget: Budget
    alpha: float
    saturating: bool

    @property
    def share(self) -> float:
        """The poison fraction λ of D_tr ∪ D_p."""
        return self.budget.n_poison / (self.budget.n_train + self.budget.n_poison)

    def images(self, theta: Weights, z: Tensor, start: Samples) -> Tensor:
        """The images G_θ(z | y) for the labels of those rows, inside the box, and inside the radius around the rows if
        there is one; pixels that this moves have no gradient."""
        return self.budget.project(self.gan.images(theta, z, start.y), start.x)

    def value(self, phi: Weights, genuine: Rows, made: Rows) -> Tensor:
        """The value V on a minibatch of genuine points and one of made points."""
        real, fake = self.gan.scores(phi, *genuine), self.gan.scores(phi, *made)
        return F.logsigmoid(real).mean() + F.logsigmoid(-fake).mean()

    def poison_loss(self, w: Weights, made: Rows) -> Tensor:
        """The loss E ℓ_C(G(z | y), y) on a minibatch of made points, by C as it would be tested."""
        x, y = made
        return self.model.loss(self.model.forward(w, self.model.normalise(x)), y)

    def classifier_loss(self, w: Weights, clean: Rows, made: Rows) -> Tensor:
        """The loss −W on a minibatch of clean points, normalised, and one of made points. Batch statistics are those of
        the clean ones alone: where C is trained, one row in 1 / λ is made. Buffers move."""
        z, y = clean
        clean_loss = self.model.loss(self.model.forward(w, z, training=True), y)
        return self.share * self.poison_loss(w, made) + (1 - self.share) * clean_loss

    def generator_loss(self, phi: Weights, w: Weights, made: Rows) -> Tensor:
        """The part of α V + (1 − α) W that depends on G, its first term as `saturating` has it."""
        scores = self.gan.scores(phi, *made)
        detection = F.logsigmoid(-scores).mean() if self.saturating else -F.logsigmoid(scores).mean()
        return self.alpha * detection - (1 - self.alpha) * self.share * self.poison_loss(w, made)
