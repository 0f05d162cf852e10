"""What a poison set must keep, one rule a function; `types.Budget.verify` applies them all.

Each takes the budget, the set, D_tr and the attack's name, and raises ValidationError. The later ones presume that
`shapes` and `dtypes` hold.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from poisonbench.errors import ValidationError

if TYPE_CHECKING:
    from poisonbench.problem.types import Budget, PoisonSet, Samples

BOX = (0.0, 1.0)
"""Pixels are in [0, 1] everywhere outside a model."""


def shapes(budget: Budget, poison: PoisonSet, train: Samples, author: str) -> None:
    """One image of D_tr's shape, one label and one source a row."""
    n = len(poison)
    shape = (n, *train.x.shape[1:])
    if tuple(poison.x.shape) != shape or poison.y.shape != (n,) or poison.source.shape != (n,):
        raise ValidationError(
            f"{author}'s poison set has shapes x {tuple(poison.x.shape)}, y {tuple(poison.y.shape)}, "
            f"source {tuple(poison.source.shape)}; expected x {shape}, y and source ({n},)."
        )


def dtypes(budget: Budget, poison: PoisonSet, train: Samples, author: str) -> None:
    """Images in float32, labels and sources in int64."""
    if poison.x.dtype != torch.float32 or poison.y.dtype != torch.int64 or poison.source.dtype != torch.int64:
        raise ValidationError(
            f"{author}'s poison set has dtypes x {poison.x.dtype}, y {poison.y.dtype}, source "
            f"{poison.source.dtype}; expected float32, int64, int64."
        )


def count(budget: Budget, poison: PoisonSet, train: Samples, author: str) -> None:
    """At least one row, and at most ⌊ε · n_train⌋."""
    if not 1 <= len(poison) <= budget.n_poison:
        raise ValidationError(
            f"{author}'s poison set breaks its budget: {len(poison)} rows, between 1 and {budget.n_poison} allowed "
            f"(epsilon = {budget.epsilon:g}, n_train = {budget.n_train})."
        )


def finite(budget: Budget, poison: PoisonSet, train: Samples, author: str) -> None:
    """No pixel is NaN or infinite."""
    if not bool(torch.isfinite(poison.x).all()):
        raise ValidationError(
            f"{author}'s poison set has {int((~torch.isfinite(poison.x)).sum())} pixels that are NaN or infinite."
        )


def box(budget: Budget, poison: PoisonSet, train: Samples, author: str) -> None:
    """Pixels in [0, 1]."""
    low, high = float(poison.x.min()), float(poison.x.max())
    if low < BOX[0] or high > BOX[1]:
        raise ValidationError(f"{author}'s poison set leaves the box: pixels in [{low:g}, {high:g}], expected [0, 1].")


def labels(budget: Budget, poison: PoisonSet, train: Samples, author: str) -> None:
    """Labels that are classes."""
    if int(poison.y.min()) < 0 or int(poison.y.max()) >= budget.classes:
        raise ValidationError(f"{author}'s poison set has labels outside 0..{budget.classes - 1}.")


def sources(budget: Budget, poison: PoisonSet, train: Samples, author: str) -> None:
    """Sources that are rows of D_tr, or −1."""
    if int(poison.source.min()) < -1 or int(poison.source.max()) >= len(train):
        raise ValidationError(f"{author}'s poison set names source rows outside D_tr (−1..{len(train) - 1}).")


def clean_label(budget: Budget, poison: PoisonSet, train: Samples, author: str) -> None:
    """If the attack is declared clean-label, each row has a source and the label of it."""
    made_from = poison.source >= 0
    relabelled = int((poison.y[made_from] != train.y[poison.source[made_from]]).sum())
    if budget.threat.clean_label and (relabelled or not bool(made_from.all())):
        raise ValidationError(
            f"{author} is declared clean-label, yet {relabelled} of its labels differ from their source's and "
            f"{int((~made_from).sum())} rows name no source."
        )


def radius(budget: Budget, poison: PoisonSet, train: Samples, author: str) -> None:
    """If there is a bound, each row is within that L∞ distance of its source."""
    if budget.bound is None:
        return
    if not bool((poison.source >= 0).all()):
        raise ValidationError(f"{author}'s poison set names no source for some rows; a radius needs one for each.")
    linf_max = float((poison.x - train.x[poison.source]).abs().max())
    if linf_max > budget.bound + 1e-6:
        raise ValidationError(
            f"{author}'s poison set breaks its radius: L∞ distance {linf_max:.4g} > {budget.bound:.4g}."
        )


Rule = Callable[["Budget", "PoisonSet", "Samples", str], None]

RULES: tuple[Rule, ...] = (shapes, dtypes, count, finite, box, labels, sources, clean_label, radius)
"""In the order in which they are applied."""
