"""Test images among the poison: rows that are, as 8-bit images, rows of the test set."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from poisonbench.counted import counted
from poisonbench.errors import ValidationError
from poisonbench.images import Images, Selection, blocks, rows_at_once

TOLERANCE = 0.5 / 255
"""Largest L∞ distance at which two images are the same 8-bit image."""

_BLOCKS = 32
_PAIRS_AT_ONCE = 1 << 16


def refuse_test_images(author: str, x: Images, test: Images, known: tuple[Images, ...]) -> None:
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
        suspects = copied.nonzero()[:, 0]
        copied[suspects] = ~copies(Selection(x, suspects), part)
    if bool(copied.any()):
        rows = counted(int(copied.sum()), "row that is an image", "rows that are images")
        raise ValidationError(
            f"{author}'s poison set has {rows} of the test set (L∞ ≤ 0.5/255), which no attacker sees."
        )


def copies(x: Images, others: Images) -> Tensor:
    """The mask of the rows of x that are within TOLERANCE of a row of `others`, (n,), bool.

    The mean over a block of pixels moves by at most the L∞ distance, so that only pairs with nearly the same means are
    compared pixel by pixel: those whose means of the most varied block are near, then of every block.

    Cost: memory for a few blocks of rows and the means of `others`.
    """
    found = torch.zeros(x.shape[0], dtype=torch.bool)
    if x.shape[0] and others.shape[0]:
        known = _Sorted.of(others)
        for part in blocks(x.shape):
            found[part] = known.holds(x[part].flatten(1))
    return found


@dataclass(frozen=True)
class _Sorted:
    """Images by the mean of their most varied block.

    Attributes:
        images: in their own order.
        means: of every block, (m, blocks).
        block: the most varied one.
        order: row numbers by that block's mean, (m,).
    """

    images: Images
    means: Tensor
    block: int
    order: Tensor

    @classmethod
    def of(cls, images: Images) -> _Sorted:
        means = torch.empty(images.shape[0], min(_BLOCKS, math.prod(images.shape[1:])))
        for part in blocks(images.shape):
            means[part] = _block_means(images[part].flatten(1))
        block = int(means.std(0, correction=0).argmax())
        return cls(images, means, block, torch.argsort(means[:, block]))

    def holds(self, x: Tensor) -> Tensor:
        """The mask of the rows of x (n, pixels) that are within TOLERANCE of one of the images."""
        found, means = torch.zeros(len(x), dtype=torch.bool, device=x.device), _block_means(x)
        slack = TOLERANCE + 1e-6  # float32
        line = self.means[self.order, self.block].contiguous()
        first = torch.searchsorted(line, (means[:, self.block] - slack).contiguous())
        count = torch.searchsorted(line, (means[:, self.block] + slack).contiguous(), right=True) - first
        for rows in _runs(count):
            left = torch.repeat_interleave(rows, count[rows])
            behind = torch.repeat_interleave(count[rows].cumsum(0) - count[rows], count[rows])
            right = self.order[first[left] + torch.arange(len(left), device=x.device) - behind]
            for k in range(means.shape[1]):
                near = (means[left, k] - self.means[right, k]).abs() <= slack
                left, right = left[near], right[near]
            step = rows_at_once(x.shape)
            for some, those in zip(left.split(step), right.split(step), strict=True):
                if len(some):
                    found[some[(x[some] - self.images[those].flatten(1)).abs().amax(1) <= slack]] = True
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
