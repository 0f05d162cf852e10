"""The values that flow through a cell: data, threat model, budget, poison set, and the views that enforce knowledge.

Views enforce the threat model by type: an `AttackerView` has no test data in it and no way to ask for it; a
`DefenderView` has one training set in it and no way to ask which of its rows are poison.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from poisonbench.bilevel.projections import project_box, project_linf
from poisonbench.errors import BudgetError
from poisonbench.problem.poison_rules import BOX as BOX
from poisonbench.problem.poison_rules import RULES
from poisonbench.problem.threat import ThreatModel

if TYPE_CHECKING:
    from poisonbench.models.base import Model
    from poisonbench.training import Recipe

Weights = dict[str, Tensor]
"""A model's parameters and buffers by name."""


@dataclass(frozen=True)
class Samples:
    """Images, labels and stable ids, row by row.

    Attributes:
        x: images, (n, channels, height, width), float32, pixels in [0, 1].
        y: labels, (n,), int64.
        ids: where each row came from, (n,), int64: its row number in the dataset's canonical order; poison rows count
            down from −1.
    """

    x: Tensor
    y: Tensor
    ids: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def rows(self, index: Tensor | slice) -> Samples:
        """Those rows, in that order (an index, a mask or a slice)."""
        return Samples(self.x[index], self.y[index], self.ids[index])

    def to(self, device: torch.device) -> Samples:
        """The same rows on another device."""
        return Samples(self.x.to(device), self.y.to(device), self.ids.to(device))

    def plus(self, other: Samples) -> Samples:
        """These rows, then the other's."""
        return Samples(torch.cat([self.x, other.x]), torch.cat([self.y, other.y]), torch.cat([self.ids, other.ids]))


@dataclass(frozen=True)
class Dataset:
    """A whole dataset with its canonical train and test parts.

    Attributes:
        name: as registered.
        sha256: of the canonical uint8 content.
        train: the clean training pool, before it is split into D_tr and D_v.
        test: the test set; only the runner sees it.
        classes: number of classes C.
        mean: per-channel mean that a model's first layer subtracts.
        std: per-channel scale that a model's first layer divides by.
    """

    name: str
    sha256: str
    train: Samples
    test: Samples
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        _, channels, height, width = self.train.x.shape
        return channels, height, width


@dataclass(frozen=True)
class PoisonSet:
    """What an attack returns.

    Attributes:
        x: poisoned images, (n_poison, channels, height, width), float32, pixels in [0, 1].
        y: their labels, (n_poison,), int64.
        source: the row of D_tr that each was made from, (n_poison,), int64, or −1 for a point made from nothing.
        stats: evidence to keep in the record (solver steps, residual, converged; losses): JSON scalars by name.
    """

    x: Tensor
    y: Tensor
    source: Tensor
    stats: Mapping[str, float | int | str | bool] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class Budget:
    """What a poison set may be: how many rows, in which box, how far from their sources, with which labels.

    Attributes:
        epsilon: poison fraction, n_poison / n_train.
        n_train: |D_tr|.
        classes: number of classes.
        threat: the attack's threat model.
        radius: the protocol's largest L∞ distance of a row from its source, in [0, 1] units; None for no bound but the
            box. What an attack keeps to is `bound`.
    """

    epsilon: float
    n_train: int
    classes: int
    threat: ThreatModel
    radius: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.epsilon <= 1:
            raise BudgetError(f"epsilon: expected a number in (0, 1], got {self.epsilon:g}.")
        if self.n_poison < 1:
            raise BudgetError(
                f"epsilon = {self.epsilon:g} of n_train = {self.n_train} is less than one point; "
                f"the smallest epsilon that fits a point is {1 / self.n_train:.2g}."
            )

    @property
    def n_poison(self) -> int:
        """⌊ε · n_train⌋, the most rows a poison set may have (computed so that 0.03 · 100 is 3, not 2.9999…)."""
        return int(self.epsilon * self.n_train + 1e-9)

    @property
    def bound(self) -> float | None:
        """The largest L∞ distance of a row from its source: the tighter of the protocol's and the attack's own radius,
        or None if neither sets one."""
        return min((radius for radius in (self.radius, self.threat.radius) if radius is not None), default=None)

    def project(self, x: Tensor, source: Tensor) -> Tensor:
        """The nearest allowed images: in the box, and within `bound` of their sources. x and source: (n, channels,
        height, width). Differentiable; pixels that are moved have no gradient."""
        return project_box(x if self.bound is None else project_linf(x, source, self.bound), *BOX)

    def verify(self, poison: PoisonSet, train: Samples, author: str) -> dict[str, float | int]:
        """Check a poison set, as read back from disk, and return what was seen.

        Args:
            poison: the set.
            train: D_tr, which `poison.source` indexes.
            author: the attack's name, for messages.
        Returns:
            `n_poison`, `linf_max` (largest L∞ distance to a source; 0 if none has one), `duplicates` (rows that equal
            an earlier row, label included) and `relabelled` (rows whose label differs from their source's).
        Raises:
            ValidationError: on the first thing that is out of bounds.
        """
        for rule in RULES:
            rule(self, poison, train, author)
        made_from = poison.source >= 0
        source = poison.source[made_from]
        relabelled = int((poison.y[made_from] != train.y[source]).sum())
        distance = (poison.x[made_from] - train.x[source]).abs()
        linf_max = float(distance.max()) if distance.numel() else 0.0
        rows = torch.cat([poison.x.flatten(1), poison.y[:, None].to(poison.x.dtype)], dim=1)
        duplicates = len(poison) - len(torch.unique(rows, dim=0))
        return {"n_poison": len(poison), "linf_max": linf_max, "duplicates": duplicates, "relabelled": relabelled}


@dataclass(frozen=True)
class AttackerView:
    """All that a training-only attacker knows. A training-data-only attacker is handed the same type with `validation`
    empty and no weights in it. No test data exists in either.

    Attributes:
        train: D_tr.
        validation: D_v.
        model: the model the attacker crafts on: the target, or a surrogate.
        recipe: how the defender will train.
        weights: the clean weights, trained on D_tr with the recipe.
        classes: number of classes.
    """

    train: Samples
    validation: Samples
    model: Model
    recipe: Recipe
    weights: Weights
    classes: int


Substitute = Callable[[Weights, Tensor, Tensor, torch.Generator], Tensor]
"""(weights, x, y, generator) ↦ the images that a step of training is taken on in the place of x (n, channels, height,
width): augmented or adversarial ones. The weights are those before the step and must not be changed."""


class Train(Protocol):
    """Trains the target model from scratch with the protocol's recipe; the same seed stream every time."""

    def __call__(self, samples: Samples, substitute: Substitute | None = None) -> Weights:
        """Weights trained on those rows, or on what `substitute` puts in the place of each batch."""


@dataclass(frozen=True)
class DefenderView:
    """All that a defender knows: one training set, rows in no telling order, and, if the defense declares that it uses
    trusted data, a clean validation set.

    Attributes:
        train: what is to be trained on, poison included, unmarked.
        validation: D_v, which the threat model keeps clean; empty for a defense that declares nothing.
        model: the target model.
        recipe: how it is trained.
        classes: number of classes.
    """

    train: Samples
    validation: Samples
    model: Model
    recipe: Recipe
    classes: int


@dataclass(frozen=True)
class Defended:
    """What a defense returns.

    Attributes:
        weights: the model to be tested.
        kept: which rows of the training set that model was trained on, (n,), bool.
        scores: one suspicion score a row (higher is more suspicious), (n,), or None if the defense has none.
        stats: evidence to keep in the record: JSON scalars by name.
    """

    weights: Weights
    kept: Tensor
    scores: Tensor | None = None
    stats: Mapping[str, float | int | str | bool] = field(default_factory=dict)
