"""What a poison set may be, and the rules that check it.

A rule takes the budget, the set, D_tr and the attack's name, and raises ValidationError. The later ones presume that
`shapes` and `dtypes` hold. Images are looked at block by block, so that a set that lies on disk is judged in little
memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from poisonbench.bilevel.projections import project_box, project_linf
from poisonbench.counted import counted
from poisonbench.errors import BudgetError, ValidationError
from poisonbench.images import blocks
from poisonbench.problem.open_samples import OpenPoison, OpenSamples
from poisonbench.problem.samples import PoisonSet, Samples
from poisonbench.problem.threat import ThreatModel

BOX = (0.0, 1.0)
"""Pixels are in [0, 1] everywhere outside a model, but for attacks that are declared to leave it."""

Poison = PoisonSet | OpenPoison
Train = Samples | OpenSamples
"""Both are judged alike, in memory or on disk."""


@dataclass(frozen=True)
class Budget:
    """The budget of an attack: how many rows, in which box, how far from their sources, with which labels.

    Attributes:
        epsilon: poison fraction, of which whole rows are left: `share`.
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
        """The number ⌊ε · n_train⌋, the most rows a poison set may have (computed so that 0.03 · 100 is 3, not
        2.9999…)."""
        return int(self.epsilon * self.n_train + 1e-9)

    @property
    def share(self) -> float:
        """The weight n_poison / n_train of as many rows in a training gradient, one of D_tr's weighing 1 / n_train."""
        return self.n_poison / self.n_train

    @property
    def bound(self) -> float | None:
        """The largest L∞ distance of a row from its source: the tighter of the protocol's and the attack's own radius,
        or None if neither sets one."""
        return min((radius for radius in (self.radius, self.threat.radius) if radius is not None), default=None)

    def project(self, x: Tensor, source: Tensor) -> Tensor:
        """The nearest allowed images: in the box, if the threat has one, and within `bound` of their sources. x and
        source: (n, channels, height, width). Differentiable; pixels that are moved have no gradient."""
        near = x if self.bound is None else project_linf(x, source, self.bound)
        return project_box(near, *BOX) if self.threat.box else near

    def verify(self, poison: Poison, train: Train, author: str) -> dict[str, float | int]:
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
        Cost: the images are gone through four times, five under a radius; memory for a few blocks of them.
        """
        for rule in RULES:
            rule(self, poison, train, author)
        return {
            "n_poison": len(poison),
            "linf_max": _linf_max(poison, train),
            "duplicates": _duplicates(poison),
            "relabelled": _relabelled(poison, train),
        }


def shapes(budget: Budget, poison: Poison, train: Train, author: str) -> None:
    """One image of D_tr's shape, one label and one source a row."""
    n = poison.y.shape[0] if len(poison.y.shape) else 1
    shape = (n, *train.x.shape[1:])
    if tuple(poison.x.shape) != shape or tuple(poison.y.shape) != (n,) or tuple(poison.source.shape) != (n,):
        raise ValidationError(
            f"{author}'s poison set has shapes x {tuple(poison.x.shape)}, y {tuple(poison.y.shape)}, "
            f"source {tuple(poison.source.shape)}; expected x {shape}, y and source ({n},)."
        )


def dtypes(budget: Budget, poison: Poison, train: Train, author: str) -> None:
    """Images in float32, labels and sources in int64."""
    if poison.x.dtype != torch.float32 or poison.y.dtype != torch.int64 or poison.source.dtype != torch.int64:
        raise ValidationError(
            f"{author}'s poison set has dtypes x {poison.x.dtype}, y {poison.y.dtype}, source "
            f"{poison.source.dtype}; expected float32, int64, int64."
        )


def count(budget: Budget, poison: Poison, train: Train, author: str) -> None:
    """At least one row, and at most ⌊ε · n_train⌋."""
    if not 1 <= len(poison) <= budget.n_poison:
        raise ValidationError(
            f"{author}'s poison set breaks its budget: {len(poison)} rows, between 1 and {budget.n_poison} allowed "
            f"(epsilon = {budget.epsilon:g}, n_train = {budget.n_train})."
        )


def finite(budget: Budget, poison: Poison, train: Train, author: str) -> None:
    """No pixel is NaN or infinite."""
    bad = sum(int((~torch.isfinite(x)).sum()) for x in _images(poison))
    if bad:
        pixels = counted(bad, "pixel that is", "pixels that are")
        raise ValidationError(f"{author}'s poison set has {pixels} NaN or infinite.")


def box(budget: Budget, poison: Poison, train: Train, author: str) -> None:
    """Pixels in [0, 1], unless the attack is declared to leave the box."""
    if not budget.threat.box:
        return
    ends = [(float(x.min()), float(x.max())) for x in _images(poison)]
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    if low < BOX[0] or high > BOX[1]:
        raise ValidationError(f"{author}'s poison set leaves the box: pixels in [{low:g}, {high:g}], expected [0, 1].")


def labels(budget: Budget, poison: Poison, train: Train, author: str) -> None:
    """Labels that are classes."""
    y = poison.y[:]
    if int(y.min()) < 0 or int(y.max()) >= budget.classes:
        raise ValidationError(f"{author}'s poison set has labels outside 0..{budget.classes - 1}.")


def sources(budget: Budget, poison: Poison, train: Train, author: str) -> None:
    """Sources that are rows of D_tr, or −1."""
    source = poison.source[:]
    if int(source.min()) < -1 or int(source.max()) >= len(train):
        raise ValidationError(f"{author}'s poison set names source rows outside D_tr (−1..{len(train) - 1}).")


def clean_label(budget: Budget, poison: Poison, train: Train, author: str) -> None:
    """If the attack is declared clean-label, each row has a source and the label of it."""
    relabelled, without = _relabelled(poison, train), int((poison.source[:] < 0).sum())
    if budget.threat.clean_label and (relabelled or without):
        raise ValidationError(
            f"{author} is declared clean-label, yet {relabelled} of its labels differ from their source's and "
            f"{counted(without, 'row names', 'rows name')} no source."
        )


def radius(budget: Budget, poison: Poison, train: Train, author: str) -> None:
    """If there is a bound, each row is within that L∞ distance of its source."""
    if budget.bound is None:
        return
    if bool((poison.source[:] < 0).any()):
        raise ValidationError(f"{author}'s poison set names no source for some rows; a radius needs one for each.")
    linf_max = _linf_max(poison, train)
    if linf_max > budget.bound + 1e-6:
        raise ValidationError(
            f"{author}'s poison set breaks its radius: L∞ distance {linf_max:.4g} > {budget.bound:.4g}."
        )


Rule = Callable[[Budget, Poison, Train, str], None]

RULES: tuple[Rule, ...] = (shapes, dtypes, count, finite, box, labels, sources, clean_label, radius)
"""In the order in which they are applied."""


def _images(poison: Poison) -> Iterator[Tensor]:
    return (poison.x[part] for part in blocks(poison.x.shape))


def _relabelled(poison: Poison, train: Train) -> int:
    """How many rows have another label than their source."""
    source = poison.source[:]
    made_from = source >= 0
    return int((poison.y[:][made_from] != train.y[source[made_from]]).sum())


def _linf_max(poison: Poison, train: Train) -> float:
    """The largest L∞ distance of a row from its source; 0 if none has one."""
    found, sources_of = 0.0, poison.source[:]
    for part in blocks(poison.x.shape):
        source = sources_of[part]
        made_from = source >= 0
        if bool(made_from.any()):
            found = max(found, float((poison.x[part][made_from] - train.x[source[made_from]]).abs().max()))
    return found


def _duplicates(poison: Poison) -> int:
    """How many rows equal an earlier one, label included; told by digests, so that no row need be kept."""
    seen, labels_of = set[bytes](), poison.y[:]
    for part in blocks(poison.x.shape):
        rows = torch.cat([poison.x[part].flatten(1), labels_of[part][:, None].to(poison.x.dtype)], dim=1)
        rows += 0.0  # −0 and 0 are the same pixel
        seen.update(hashlib.blake2b(row, digest_size=16).digest() for row in rows.cpu().numpy())
    return len(poison) - len(seen)
