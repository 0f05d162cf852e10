"""The split of a training pool into D_tr and D_v."""

from __future__ import annotations

import torch

from poisonbench.errors import ConfigError
from poisonbench.problem.samples import Samples


def split(
    train: Samples, validation: float, generator: torch.Generator, train_rows: int | None = None
) -> tuple[Samples, Samples]:
    """Disjoint random D_tr and D_v that use every row once, |D_v| = round(validation · n): 60,000 → 42,000 / 18,000.

    Both come in the generator's order, never the pool's: attacks initialise from the first ε·|D_tr| rows of D_tr, so
    those must be a random sample.

    Args:
        train: the clean training pool.
        validation: |D_v| / n, in [0, 1).
        generator: decides the order; nothing else does.
        train_rows: how many rows D_tr keeps, its first ones, so that smaller sets are parts of larger ones; None keeps
            all. D_v does not depend on it.
    Returns:
        D_tr and D_v.
    Raises:
        ConfigError: as `split_sizes`.
    """
    kept, held_out = split_sizes(len(train), validation, train_rows)
    order = torch.randperm(len(train), generator=generator)
    return train.rows(order[held_out : held_out + kept]), train.rows(order[:held_out])


def split_sizes(n: int, validation: float, train_rows: int | None = None) -> tuple[int, int]:
    """|D_tr| and |D_v| of a pool of n rows.

    Raises:
        ConfigError: if `validation` is not in [0, 1), or leaves no row for D_tr, or fewer than `train_rows`.
    """
    if not 0 <= validation < 1:
        raise ConfigError(f"validation: expected a number in [0, 1), got {validation:g}.")
    held_out = round(validation * n)
    if held_out == n:
        raise ConfigError(f"validation: {validation:g} of {n} rows leaves none to train on; lower it.")
    if train_rows is not None and not 1 <= train_rows <= n - held_out:
        raise ConfigError(f"train_rows: expected 1 to {n - held_out}, the rows of D_tr, got {train_rows}.")
    return train_rows or n - held_out, held_out
