"""Friendly noise: train on images under the largest noise that leaves the model's answers as they are.

Liu, Yang & Mirzasoleiman, "Friendly Noise against Adversarial Noise: A Powerful Defense against Data Poisoning Attack",
NeurIPS 2022.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from poisonbench.augmentation import flipped_and_cropped
from poisonbench.defenses.base import TrainingDefense
from poisonbench.errors import ConfigError
from poisonbench.models.base import Model
from poisonbench.plugins.registry import register
from poisonbench.problem.budget import BOX
from poisonbench.problem.field_checks import check_integers, check_numbers
from poisonbench.problem.procedure import Batch, Procedure, State
from poisonbench.problem.recipe import Recipe
from poisonbench.problem.samples import Samples, Weights
from poisonbench.problem.views import DefenderView, Train
from poisonbench.stages.stage import Stage

MOMENTUM = 0.9
"""Nesterov's, of the steps that make the noise; the code's."""


@register("friendly-noise")
@dataclass(frozen=True)
class FriendlyNoise(TrainingDefense):
    """Train for a few epochs; then make every image a noise that is as large as it can be while the model answers as
    before, and train on with that and a random noise added.

        ε_i = argmin_{‖ε‖_∞ ≤ ζ}  D(f(x_i + ε), f(x_i)) − λ · mean_j ε_j²,        step on x_i + ε_i + μ · noise

    Poison that works by a small perturbation sits where the loss is sharp. The friendly noise ε takes images away from
    there, is made once, in the same training, with the model as it is after `warmup` epochs, and stays; the random
    noise, drawn anew for each step from the first epoch on, flattens the loss around it.

    D is KL(f(x + ε) ‖ f(x)) of the softmax of the scores. `svm` has no probabilities, yet its hinge loss, as that KL,
    is a function of the scores' differences: its scores are taken for logits.

    As in the authors' code: the noise's size is its mean square over pixels, where the paper writes the norm ‖ε‖, and
    λ = 1, the step size and the number of steps are the code's for that; ε begins uniform in ±ζ/2, the code's 8/255;
    random noise is there during the warm-up too, and may take a pixel out of the box. Its KL is the other way around,
    KL(f(x) ‖ f(x + ε)), which differs in the third order (`reverse-kl`); its other choice is `mse`, of the scores. Its
    defaults are these; the paper's text has μ = 16/255, which is the preset `paper`.

    Departures from the authors' code: there the gradient is of a mean over batches of 128 rows, so a row of a last,
    smaller batch takes longer steps; here every row steps by its own objective, 100/128 long as theirs, whatever the
    batch. There ε is cut off to ζ and to the box only where the model looks at it, so a pixel that is out gets no
    gradient back; here every step is projected, and x + ε is an image. Here a row keeps the noise of least objective
    that its steps met, its start included, so that steps too long for a sharp model cannot end in unfriendly noise.
    Where a recipe augments, the noisy images are augmented, as there, by draws of this defense's own.

    With few pixels the noise grows to ζ within the steps; with CIFAR's 3,072 its gradient is 2λε / 3,072 a pixel, and
    it remains about as large as it began.

    Fields:
        warmup: epochs before ε is made; the README's and the paper's 5. Fewer than the recipe has.
        zeta: ζ, in [0, 1] units.
        lam: λ, what size counts for.
        distance: D: kl, reverse-kl or mse.
        steps: gradient steps that make ε.
        lr: their size.
        mu: size μ of the random noise, in [0, 1] units; 0 for none.
        noise: its distribution: bernoulli, ±μ; uniform in ±μ; gaussian of standard deviation μ.
    """

    version: ClassVar[int] = 1
    paper = "liu2022friendly"
    cost = (
        "one training run, and steps + 2 passes by image over the set; one image of float32 a row, kept in memory and "
        "in the checkpoint"
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType({"paper": {"mu": 16 / 255}})

    warmup: int = 5
    zeta: float = 16 / 255
    lam: float = 1.0
    distance: Literal["kl", "reverse-kl", "mse"] = "kl"
    steps: int = 30
    lr: float = 100 / 128
    mu: float = 8 / 255
    noise: Literal["bernoulli", "uniform", "gaussian"] = "bernoulli"

    def __post_init__(self) -> None:
        check_integers(self, warmup=0, steps=1)
        check_numbers(self, "in (0, 1]", "zeta")
        check_numbers(self, "> 0", "lr")
        check_numbers(self, "≥ 0", "lam")
        check_numbers(self, "in [0, 1]", "mu")

    def procedure(self, view: DefenderView, train: Train, stage: Stage) -> Procedure:
        """See TrainingDefense.

        Raises:
            ConfigError: if the recipe ends before friendly noise is made.
        """
        if self.warmup >= view.recipe.epochs:
            raise ConfigError(
                f"defense.warmup: expected less than the recipe's {view.recipe.epochs} epochs, got {self.warmup}: no "
                f"epoch would have friendly noise."
            )
        return _Friendly(self, view.model, view.recipe, view.train.x, stage)

    def friendly(self, model: Model, weights: Weights, x: Tensor, generator: torch.Generator) -> Tensor:
        """The friendly noise of images x, of their shape: within ζ, and x + ε in the box."""
        low, high = (BOX[0] - x).clamp_(min=-self.zeta), (BOX[1] - x).clamp_(max=self.zeta)
        epsilon = self.start(x, generator).clamp(low, high)
        with torch.no_grad():
            scores = model.forward(weights, model.normalise(x))
        least, kept = torch.full_like(x[:, 0, 0, 0], torch.inf), epsilon
        velocity = torch.zeros_like(x)
        for step in range(self.steps + 1):
            with torch.enable_grad():
                leaf = epsilon.detach().requires_grad_()
                values = self.objective(model, weights, x, leaf, scores)
                (slope,) = torch.autograd.grad(values.sum(), leaf)
            values = values.detach()
            kept = torch.where((values < least)[:, None, None, None], epsilon, kept)
            least = torch.minimum(values, least)
            if step < self.steps:
                velocity = slope + MOMENTUM * velocity
                epsilon = (epsilon - self.lr * (slope + MOMENTUM * velocity)).clamp(low, high)
        return kept

    def start(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Where the noise of images x begins, before it is cut off to the box: uniform in ±ζ/2."""
        return (torch.rand(x.shape, generator=generator).to(x) - 0.5) * self.zeta

    def objective(self, model: Model, weights: Weights, x: Tensor, epsilon: Tensor, scores: Tensor) -> Tensor:
        """The objective D − λ · mean_j ε_j² of each row, (n,).

        Args:
            model: whose answers are to stay.
            weights: its weights.
            x: images, (n, channels, height, width).
            epsilon: their noise, of the same shape.
            scores: what the model says of x, (n, C).
        """
        found = model.forward(weights, model.normalise(x + epsilon))
        return self._distances(found, scores) - self.lam * epsilon.square().flatten(1).mean(1)

    def _distances(self, found: Tensor, scores: Tensor) -> Tensor:
        if self.distance == "mse":
            return (found - scores).square().mean(1)
        now, before = found.log_softmax(1), scores.log_softmax(1)
        if self.distance == "kl":
            return (now.exp() * (now - before)).sum(1)
        return (before.exp() * (before - now)).sum(1)

    def random(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """A draw of the random noise for images x, of their shape."""
        if self.noise == "gaussian":
            return self.mu * torch.randn(x.shape, generator=generator).to(x)
        drawn = torch.rand(x.shape, generator=generator).to(x) - 0.5
        return self.mu * (2 * drawn if self.noise == "uniform" else torch.where(drawn < 0, -1.0, 1.0).to(x))


class _Friendly(Procedure):
    """Steps on images under friendly and random noise."""

    def __init__(self, defense: FriendlyNoise, model: Model, recipe: Recipe, x: Tensor, stage: Stage) -> None:
        self._defense, self._model, self._recipe, self._x, self._stage = defense, model, recipe, x, stage

    def state(self, samples: Samples) -> State:
        """See Procedure: the friendly noise of each row; none yet."""
        return {"friendly": torch.zeros_like(samples.x)}

    def epoch(self, number: int, weights: Weights, state: State, generator: torch.Generator) -> Tensor | None:
        """See Procedure: makes the noise at the end of the warm-up."""
        if number == self._defense.warmup:
            fixed = {name: value.detach() for name, value in weights.items()}
            made = []
            with self._stage.counted("friendly noise") as tick:
                for x in self._x.split(self._recipe.batch_size):
                    made.append(self._defense.friendly(self._model, fixed, x, generator))
                    tick()
            state["friendly"] = torch.cat(made)
        return None

    def batch(self, weights: Weights, batch: Batch, state: State, generator: torch.Generator) -> Batch:
        """See Procedure."""
        x = self._x[batch.rows] + state["friendly"][batch.rows]  # batch.x without the recipe's augmentation
        if self._defense.mu:
            x = x + self._defense.random(x, generator)
        return replace(batch, x=x if self._recipe.augmentation == "none" else flipped_and_cropped(x, generator))
