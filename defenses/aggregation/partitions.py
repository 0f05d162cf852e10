"""Rows into buckets, by a hash of each row alone: no row that is added or taken moves another."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from poisonbench.problem.samples import Samples
from poisonbench.seeding import child_generator


def buckets(samples: Samples, count: int) -> Tensor:
    """The bucket of each row, (n,), int64, below `count`: of its image alone, as in both papers, so that a row and its
    copy under another label share one."""
    return (_hash(samples.x, "bucket") >> 33).remainder(count)


def in_order(samples: Samples, rows: Tensor) -> Tensor:
    """The same rows (n,), int64, in an order that is theirs, whatever order they came in: training on them is then a
    function of the set."""
    chosen = samples.rows(rows)
    keys = _hash(chosen.x, "order") + chosen.y * _multipliers(1, "label").item()
    return rows[keys.argsort(stable=True)]


def _hash(x: Tensor, name: str) -> Tensor:
    """A multilinear hash of the bits of each image, (n,), int64, modulo 2⁶⁴: the same on every device, in one product a
    pixel. The low bits are the worse ones: pixels of few grey levels end in zeros."""
    bits = x.flatten(1).contiguous().view(torch.int32)
    total = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    multipliers = _multipliers(bits.shape[1], name).to(x.device)
    for part, out in zip(bits.split(4096), total.split(4096), strict=True):
        out += (part.long() * multipliers).sum(1)
    return total


@cache
def _multipliers(size: int, name: str) -> Tensor:
    """Odd random 64-bit numbers, the same in every run."""
    drawn = torch.randint(-(2**63), 2**63 - 1, (size,), generator=child_generator(0, "aggregation", name))
    return drawn | 1
