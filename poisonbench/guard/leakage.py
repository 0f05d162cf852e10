"""Test images among the poison: rows that are, as 8-bit images, rows of the test set."""

from __future__ import annotations

import torch
from torch import Tensor

from poisonbench.counted import counted
from poisonbench.errors import ValidationError

TOLERANCE = 0.5 / 255
"""Largest L∞ distance at which two images are the same 8-bit image."""

_BLOCKS = 32
_PAIRS_AT_ONCE = 1 << 20


def refuse_test_images(author: str, x: Tensor, test: Tensor, known: tuple[Tensor, ...]) -> None:
    """Refuse a poison set that returns test images. An image that is also in D_tr or D_v is the attacker's to use.

    Args:
        author: the attack's name, for messages.
        x: the poison set's images, (n, channels, height, width).
        test: the test set's images.
        known: those of D_tr and of D_v.
    Raises:
        ValidationError: says how many.
    """
    copied = copies(x, test)
    for part in known:
        if bool(copied.any()):
            copied[copied.clone()] = ~copies(x[copied], part)
    if bool(copied.any()):
        rows = counted(int(copied.sum()), "row that is an image", "rows that are images")
        raise ValidationError(
            f"{author}'s poison set has {rows} of the test set (L∞ ≤ 0.5/255), which no attacker sees."
        )


def copies(x: Tensor, others: Tensor) -> Tensor:
    """The mask of the rows of x that are within TOLERANCE of a row of `others`, (n,), bool.

    The mean over a block of pixels moves by at most the L∞ distance, so that only pairs with nearly the same means are
    compared pixel by pixel: those whose means of the most varied block are near, then of every block.
    """
    found = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    if not len(x) or not len(others):
        return found
    a, b = x.flatten(1), others.flatten(1).to(x.device)
    means, others_means = _block_means(a), _block_means(b)
    slack = TOLERANCE + 1e-6  # float32
    block = int(others_means.std(0, correction=0).argmax())
    order = torch.argsort(others_means[:, block])
    line = others_means[order, block].contiguous()
    first = torch.searchsorted(line, (means[:, block] - slack).contiguous())
    count = torch.searchsorted(line, (means[:, block] + slack).contiguous(), right=True) - first
    for rows in _runs(count):
        left = torch.repeat_interleave(rows, count[rows])
        behind = torch.repeat_interleave(count[rows].cumsum(0) - count[rows], count[rows])
        right = order[first[left] + torch.arange(len(left), device=x.device) - behind]
        for k in range(means.shape[1]):
            near = (means[left, k] - others_means[right, k]).abs() <= slack
            left, right = left[near], right[near]
        for some, those in zip(left.split(4096), right.split(4096), strict=True):
            found[some[(a[some] - b[those]).abs().amax(1) <= slack]] = True
    return found


def _block_means(rows: Tensor) -> Tensor:
    """The means of about _BLOCKS blocks of neighbouring pixels, (n, blocks), of rows (n, pixels)."""
    parts = rows.tensor_split(min(_BLOCKS, rows.shape[1]), dim=1)
    return torch.stack([part.mean(1) for part in parts], dim=1)


def _runs(count: Tensor) -> list[Tensor]:
    """The row numbers, in runs of about _PAIRS_AT_ONCE pairs."""
    part = (count.cumsum(0) - count) // _PAIRS_AT_ONCE
    lengths = torch.unique_consecutive(part, return_counts=True)[1]
    return list(torch.arange(len(count), device=count.device).split(lengths.tolist()))
