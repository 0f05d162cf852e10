"""Gradient matching: poison whose training gradient points where the adversary's loss falls."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from poisonbench.attacks.base import Attack
from poisonbench.attacks.pixel_adam import adam_descend, pixel_state
from poisonbench.attacks.poison_gradient import chunks, mean_gradient, pull_back
from poisonbench.bilevel.hvp import flatten
from poisonbench.models.base import Model
from poisonbench.plugins.registry import register
from poisonbench.problem.budget import Budget
from poisonbench.problem.field_checks import check_integers, check_numbers
from poisonbench.problem.samples import PoisonSet, Samples, Weights
from poisonbench.problem.threat import Mode, ThreatModel
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

    Added, D_p is an indiscriminate attack; in the place of its sources, it makes unlearnable examples (Fowl et al.,
    "Preventing Unauthorized Use of Proprietary Data", arXiv:2103.02683, 2021; the paper's Appendix B), and the union is
    of D_p and the rows of D_tr that it leaves. With `batch_size` rows at a time, S is the mean over batches of D_p,
    where ∇f of a batch stands for that of D_p. `--preset unlearnable` does so for the whole set, within 8/255, by the
    steps of Geiping et al.

    Departures from Geiping et al.: S compares with the union, as equation 14 is written, so that the poison gradient's
    size counts and not its direction alone; pixels are bounded by the box alone unless `radius` is set. `--preset
    geiping` has their gradients, radius, units and restarts. With it, too, the adversary's loss is that of all of D_tr,
    not of one target image; S is that of all points at once, not the mean over minibatches of 512, unless `batch_size`
    is set; points are added, not put in the place of their sources, unless `mode` says so; there is no augmentation,
    whatever the recipe's; images start within the box; and the S that chooses a restart is that of the images returned,
    where the released code takes it before the last step.

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
        mode: addition adds the points, perturbation replaces their sources; the protocol's unless it is set.
        batch_size: rows of D_p that are matched at a time; 0 takes all at once.
    """

    version: ClassVar[int] = 2
    paper = "geiping2021witches"
    formulation = "gradient matching"
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
            },
            "unlearnable": {
                "matched": "poison",
                "radius": 8 / 255,
                "unit": "deviation",
                "start": "noise",
                "mode": "perturbation",
                "batch_size": 512,
            },
        }
    )

    adversary: Literal["reverse", "negative"] = "reverse"
    matched: Literal["union", "poison"] = "union"
    steps: int = 250
    rate: float = 0.1
    restarts: int = 1
    radius: float | None = None
    unit: Literal["pixel", "deviation"] = "pixel"
    start: Literal["clean", "noise"] = "clean"
    mode: Mode = Mode.ADDITION
    batch_size: int = 0

    def __post_init__(self) -> None:
        check_integers(self, steps=1, restarts=1, batch_size=0)
        check_numbers(self, "> 0", "rate")
        check_numbers(self, "in (0, 1]", "radius")

    @property
    def threat(self) -> ThreatModel:
        """The declared threat: labels are kept, pixels move by `radius` at most, in either mode."""
        return ThreatModel(mode=self.mode, clean_label=True, radius=self.radius)

    def craft(self, view: AttackerView, budget: Budget, stage: Stage) -> PoisonSet:
        """See Attack."""
        train, sources = view.train, torch.arange(budget.n_poison, device=stage.device)
        start, matching = train.rows(sources), self._matching(view, budget)
        unit = channel_deviations(train.x) if self.unit == "deviation" else train.x.new_ones(())

        best, least = start.x, math.inf
        for restart in range(self.restarts):
            state = pixel_state(self._begin(restart, start.x, budget, stage) / unit)
            for step in stage.steps(f"match {restart + 1} of {self.restarts}", self.steps, state):
                loss, slope = matching.slope(budget.project(state["x"] * unit, start.x), start.y)
                passed = sum(step >= eighths * self.steps / 8 for eighths in (3, 5, 7))
                adam_descend(state, slope.sign(), self.rate * 0.1**passed, step)
                state["x"] = budget.project(state["x"] * unit, start.x) / unit
                stage.report(loss=loss)
            x = budget.project(state["x"] * unit, start.x)
            loss = matching.loss(x, start.y)
            if loss < least:
                best, least = x, loss
        return PoisonSet(best, start.y, sources, {"dissimilarity": least})

    def _matching(self, view: AttackerView, budget: Budget) -> Matching:
        """What the points are matched with, at the clean weights."""
        model, train, n = view.model, view.train, budget.n_poison
        w = {name: value.clone().requires_grad_(name not in model.buffers) for name, value in view.weights.items()}
        wanted = adversarial_gradient(model, w, train, self.adversary)
        rest, share, others = train, budget.share, 1.0
        if self.mode is Mode.PERTURBATION:
            rest = train.rows(slice(n, None))
            others = 1.0 - share
        clean = torch.zeros_like(wanted)
        if self.matched == "union" and len(rest) > 0:
            clean = others * mean_gradient(model, w, rest.x, rest.y)
        return Matching(model, w, wanted, clean, share, self.batch_size or n)

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


@dataclass(frozen=True)
class Matching:
    """The dissimilarity S of batches of poison points, at weights that stay as they are.

    Attributes:
        model: F.
        w: its weights, parameters as leaves.
        wanted: ∇f′, (p,).
        clean: the part of the training gradient that is not D_p's, (p,).
        share: the weight of ∇f(D_p) in the training gradient.
        size: rows of a batch.
    """

    model: Model
    w: Weights
    wanted: Tensor
    clean: Tensor
    share: float
    size: int

    def loss(self, x: Tensor, y: Tensor) -> float:
        """The mean of S over the batches of images x. Cost: one gradient."""
        return _mean([self._batch(*part)[0] for part in self._batches(x, y)])

    def slope(self, x: Tensor, y: Tensor) -> tuple[float, Tensor]:
        """That mean, and each batch's gradient ∇_x S divided by `share`, of the shape of x. Cost: three gradients."""
        losses, slopes = [], []
        for part, labels in self._batches(x, y):
            loss, outer = self._batch(part, labels)
            losses.append(loss)
            slopes.append(pull_back(self.model, self.w, outer, part, labels))
        return _mean(losses), torch.cat(slopes)

    def _batch(self, x: Tensor, y: Tensor) -> tuple[float, Tensor]:
        return dissimilarity(self.clean + self.share * mean_gradient(self.model, self.w, x, y), self.wanted)

    def _batches(self, x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        return zip(x.split(self.size), y.split(self.size), strict=True)


def _mean(losses: list[float]) -> float:
    return sum(losses) / len(losses)


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
