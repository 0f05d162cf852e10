"""The split of a training pool into D_tr, D_v and the defender's trusted rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

from poisonbench.errors import ConfigError
from poisonbench.problem.open_samples import OpenSamples
from poisonbench.problem.samples import Samples

Pool = TypeVar("Pool", Samples, OpenSamples)


@dataclass(frozen=True)
class Sizes:
    """How many rows each part has.

    Attributes:
        train: |D_tr|.
        validation: |D_v|.
        trusted: rows that are the defender's alone; 0 if it trusts D_v.
    """

    train: int
    validation: int
    trusted: int


@dataclass(frozen=True)
class Parts(Generic[Pool]):
    """The parts of a training pool.

    Attributes:
        train: D_tr, which is poisoned.
        validation: D_v, which an informed attacker optimises against.
        trusted: clean rows for defenses that declare to use some: D_v itself, or rows that are in neither.
    """

    train: Pool
    validation: Pool
    trusted: Pool


def split(
    pool: Pool,
    validation: float,
    generator: torch.Generator,
    train_rows: int | None = None,
    trusted: float | None = None,
) -> Parts[Pool]:
    """Disjoint random parts that use every row once, |D_v| = round(validation · n): 60,000 → 42,000 / 18,000.

    All come in the generator's order, never the pool's: attacks initialise from the first ε·|D_tr| rows of D_tr, so
    those must be a random sample.

    Args:
        pool: the clean training pool.
        validation: |D_v| / n, in [0, 1).
        generator: decides the order; nothing else does.
        train_rows: how many rows D_tr keeps, its first ones, so that smaller sets are parts of larger ones; None keeps
            all. D_v does not depend on it.
        trusted: the defender's own rows / n; None if it trusts D_v.
    Raises:
        ConfigError: as `split_sizes`.
    """
    sizes = split_sizes(len(pool), validation, train_rows, trusted)
    order = torch.randperm(len(pool), generator=generator)
    held_out, own = sizes.validation, sizes.validation + sizes.trusted
    known = pool.rows(order[:held_out])
    return Parts(
        train=pool.rows(order[own : own + sizes.train]),
        validation=known,
        trusted=known if trusted is None else pool.rows(order[held_out:own]),
    )


def split_sizes(n: int, validation: float, train_rows: int | None = None, trusted: float | None = None) -> Sizes:
    """The sizes of the parts of a pool of n rows.

    Raises:
        ConfigError: if `validation` is not in [0, 1), or leaves no row for D_tr, or fewer than `train_rows`; or if
            `trusted` is not even one row.
    """
    if not 0 <= validation < 1:
        raise ConfigError(f"validation: expected a number in [0, 1), got {validation:g}.")
    held_out, own = round(validation * n), round((trusted or 0.0) * n)
    if trusted is not None and own < 1:
        raise ConfigError(f"trusted: {trusted:g} of {n} rows is not even one; raise it.")
    left = n - held_out - own
    if left < 1:
        raise ConfigError(f"validation: {validation:g} of {n} rows leaves none to train on; lower it.")
    if train_rows is not None and not 1 <= train_rows <= left:
        raise ConfigError(f"train_rows: expected 1 to {left}, the rows of D_tr, got {train_rows}.")
    return Sizes(train_rows or left, held_out, own)
