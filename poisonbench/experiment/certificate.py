"""What a defense proves of its answers: the curve of a record, and a check that an attack can refute."""

from __future__ import annotations

import torch
from torch import Tensor

from poisonbench.counted import counted
from poisonbench.defenses.base import Defense
from poisonbench.errors import ValidationError
from poisonbench.experiment.returned import plain_tensor
from poisonbench.problem.threat import Mode
from poisonbench.store.record_results import Certified


def certificate(defense: Defense, votes: Tensor, classes: int, rows: int) -> Tensor | None:
    """The defense's proof, one number of rows an image, or None; see Defense.certify.

    Raises:
        ValidationError: if it is no such numbers.
    """
    found = defense.certify(votes.clone(), classes, rows)
    if found is None:
        return None
    radius = plain_tensor(defense.name, "certify", found)
    if radius.shape != votes.shape[1:] or radius.dtype != torch.int64 or bool((radius < 0).any()):
        raise ValidationError(f"{defense.name} must certify {votes.shape[1]} images with integers ≥ 0.")
    return radius


def changed_rows(mode: Mode, padded: bool, n_poison: int) -> int:
    """How many rows are added and taken at most between the training set without poison and the one with it."""
    return n_poison if mode is Mode.ADDITION and not padded else 2 * n_poison


def refuse_refuted(defense: Defense, radius: Tensor, before: Tensor, after: Tensor, changed: int) -> None:
    """Refuse a proof that this run disproves.

    Args:
        defense: whose it is.
        radius: what it proves, (n,).
        before: its answers without poison, (n,).
        after: those with it.
        changed: how many rows were added and taken at most.
    Raises:
        ValidationError: if an answer differs that is proven not to.
    """
    refuted = int(((radius >= changed) & (before != after)).sum())
    if refuted:
        rows = counted(changed, "row")
        raise ValidationError(
            f"{defense.name}'s certificate is false: {refuted} of the answers that it certifies against {rows} were "
            f"changed by so many."
        )


def curve(radius: Tensor, right: Tensor) -> Certified:
    """The accuracy that is proven, by number of rows.

    Args:
        radius: what is proven, (n,).
        right: which answers are right, (n,), bool.
    """
    proven, n = radius[right], max(1, len(right))
    rows = [0, *(proven.unique() + 1).tolist()]
    left = [int((proven >= number).sum()) for number in rows]
    return Certified(rows=tuple(rows), accuracy=tuple(100.0 * count / n for count in left))
