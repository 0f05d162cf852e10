"""Gradient matching: poison whose training gradient points where the adversary's loss falls."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from poisonbench.attacks.base import Attack
from poisonbench.attacks.checks import check_integers, check_numbers
from poisonbench.attacks.pixel_adam import adam_descend, pixel_state
from poisonbench.attacks.poison_gradient import chunks, mean_gradient, pull_back
from poisonbench.bilevel.hvp import flatten
from poisonbench.models.base import Model
from poisonbench.plugins.registry import register
from poisonbench.problem.budget import Budget
from poisonbench.problem.samples import PoisonSet, Samples, Weights
from poisonbench.problem.threat import ThreatModel
from poisonbench.problem.views import AttackerView
from poisonbench.stages.stage import Stage


@register("gradient-matching")
@dataclass(frozen=True)
class GradientMatching(Attack):
    """Training points moved until the training gradient points where the adversary's loss falls.

    D_p is D_tr[0 : εN] with labels kept and pixels that minimise, at the clean weights w,

        S = 1 − cos(∇_w f′(D_tr; w), ∇_w f(D_tr ∪ D_p; w))

    where f is the training loss and f′ the adversary's, which falls as accuracy does (equations 13–14 of Lu, Kamath &
    Yu, after Geiping et al.'s targeted attack). Steps are those of Adam on the sign of the gradient; the step size
    falls to a tenth after 3/8, 5/8 and 7/8 of them. Of several restarts the one with the smallest S is kept.

    Departures from Geiping et al.: S compares with the union, as equation 14 is written, so that the poison gradient's
    size counts and not its direction alone; pixels are bounded by the box alone unless `radius` is set. `--preset
    geiping` has their gradients, radius, units and restarts. With it, too, the adversary's loss is that of all of D_tr,
    not of one target image; S is that of all points at once, not the mean over minibatches of 512; points are added,
    not put in the place of their sources; there is no augmentation, since the protocols have none; images start within
    the box; and the S that chooses a restart is that of the images returned, where the released code takes it before
    the last step.

    Fields:
        adversary: `reverse` is f′ = −log(1 − p_y), the reversed cross entropy of Fowl et al.; `negative` is f′ = −f,
            whose gradient is small where the model fits D_tr well.
        matched: `union` compares with ∇f(D_tr ∪ D_p), `poison` with ∇f(D_p).
        steps: steps a restart.
        rate: first step size.
        unit: of the rate: `pixel` is [0, 1], `deviation` the standard deviation of the pixels of each channel of D_tr,
            as of a step on normalised images.
        restarts: how many.
        start: where they start, within 16/255 or the bound of the clean images: with `clean` the first there, the
            others at images that differ by uniform noise; with `noise` all at images that differ by normal noise, whose
            standard deviation is that width and which is clipped to it.
        radius: largest change of a pixel, or null.
    """

    version: ClassVar[int] = 1
    paper = "geiping2021witches"
    cost = "restarts · steps · 3 gradients of D_p, and one gradient of D_tr"

    presets = MappingProxyType(
        {
            "geiping": {
                "adversary": "negative",
                "matched": "poison",
                "radius": 16 / 255,
                "unit": "deviation",
                "restarts": 8,
                "start": "noise",
            }
        }
    )
    later_fields: ClassVar[frozenset[str]] = frozenset({"unit", "start"})

    adversary: Literal["reverse", "negative"] = "reverse"
    matched: Literal["union", "poison"] = "union"
    steps: int = 250
    rate: float = 0.1
    restarts: int = 1
    radius: float | None = None
    unit: Literal["pixel", "deviation"] = "pixel"
    start: Literal["clean", "noise"] = "clean"

    def __post_init__(self) -> None:
        check_integers(self, steps=1, restarts=1)
        check_numbers(self, "> 0", "rate")
        check_numbers(self, "in (0, 1]", "radius")

    @property
    def threat(self) -> ThreatModel:
        """The declared threat: labels are kept, pixels move by `radius` at most."""
        return ThreatModel(clean_label=True, radius=self.radius)

    def craft(self, view: AttackerView, budget: Budget, stage: Stage) -> PoisonSet:
        """See Attack."""
        model, train = view.model, view.train
        w = {name: value.clone().requires_grad_(name not in model.buffers) for name, value in view.weights.items()}
        wanted = adversarial_gradient(model, w, train, self.adversary)
        clean = mean_gradient(model, w, train.x, train.y) if self.matched == "union" else torch.zeros_like(wanted)
        start = train.rows(torch.arange(budget.n_poison, device=stage.device))
        unit = channel_deviations(train.x) if self.unit == "deviation" else train.x.new_ones(())

        best, least = start.x, math.inf
        for restart in range(self.restarts):
            state = pixel_state(self._begin(restart, start.x, budget, stage) / unit)
            for step in stage.steps(f"match {restart + 1} of {self.restarts}", self.steps, state):
                x = budget.project(state["x"] * unit, start.x)
                loss, slope = dissimilarity(clean + budget.epsilon * mean_gradient(model, w, x, start.y), wanted)
                down = pull_back(model, w, slope, x, start.y).sign()
                passed = sum(step >= eighths * self.steps / 8 for eighths in (3, 5, 7))
                adam_descend(state, down, self.rate * 0.1**passed, step)
                state["x"] = budget.project(state["x"] * unit, start.x) / unit
                stage.report(loss=loss)
            x = budget.project(state["x"] * unit, start.x)
            loss, _ = dissimilarity(clean + budget.epsilon * mean_gradient(model, w, x, start.y), wanted)
            if loss < least:
                best, least = x, loss
        return PoisonSet(best, start.y, torch.arange(budget.n_poison, device=stage.device), {"dissimilarity": least})

    def _begin(self, restart: int, x: Tensor, budget: Budget, stage: Stage) -> Tensor:
        """The images that a restart starts from; x are the clean ones."""
        width = min(budget.bound or 1.0, 16 / 255)
        if self.start == "noise":
            noise = torch.randn(x.shape, generator=stage.generator).clamp(-1, 1)
        elif restart == 0:
            return x
        else:
            noise = 2 * torch.rand(x.shape, generator=stage.generator) - 1
        return budget.project(x + width * noise.to(x.device), x)


def channel_deviations(x: Tensor) -> Tensor:
    """The standard deviation of the pixels of each channel, (channels, 1, 1), 1 where a channel is constant; images x
    are (n, channels, height, width)."""
    deviation = x.transpose(0, 1).flatten(1).std(1)
    return torch.where(deviation > 0, deviation, 1.0)[:, None, None]


def adversarial_gradient(model: Model, w: Weights, samples: Samples, adversary: str) -> Tensor:
    """The gradient ∇_w f′ of those samples, (p,), in evaluation mode; f′ as in `GradientMatching`."""
    if adversary == "negative":
        return -mean_gradient(model, w, samples.x, samples.y)
    parameters = list(model.parameters(w).values())
    total = torch.zeros_like(flatten([part.detach() for part in parameters]))
    for rows in chunks(samples.x):
        logits = model.forward(w, model.normalise(samples.x[rows]))
        total += flatten(torch.autograd.grad(reverse_cross_entropy(logits, samples.y[rows]).sum(), parameters))
    return total / len(samples)


def reverse_cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """The loss −log(1 − p_y) of each row, (n,): logsumexp of the scores less that of the other classes', which is
    finite at p_y = 1."""
    others = logits.scatter(1, y[:, None], float("-inf"))
    return torch.logsumexp(logits, 1) - torch.logsumexp(others, 1)


def dissimilarity(made: Tensor, wanted: Tensor) -> tuple[float, Tensor]:
    """The dissimilarity S = 1 − cos(a, b), in [0, 2], and its gradient in a, (p,)."""
    leaf = made.detach().requires_grad_()
    loss = 1 - F.cosine_similarity(leaf, wanted, dim=0, eps=torch.finfo(made.dtype).tiny)
    return float(loss.detach()), torch.autograd.grad(loss, leaf)[0]
