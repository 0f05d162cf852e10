"""What a vote proves: how many buckets of rows must change before another label can win."""

from __future__ import annotations

import torch
from torch import Tensor

from poisonbench.problem.predictor import counts

CHUNK = 1024
"""Images at a time: of 1,000 models a chunk's gains fill 8 MiB a label."""


def certified_rows(votes: Tensor, classes: int, offsets: Tensor) -> Tensor:
    """How many rows may be added or taken without changing the label that wins.

    A row falls into one bucket, and bucket b is in the training sets of the models b + offset, modulo their number. A
    model whose bucket changes may vote for anything: with N_c votes for the winner c and N_j for another label j, it
    takes 2 from N_c − N_j if it votes for c, 1 if it votes for a third, and 0 if it votes for j already. So r rows take
    at most the sum of the r largest buckets' gains, and j wins no tie against a smaller label: c stands against j as
    long as that sum is at most N_c − N_j − [j < c] (Wang, Levine & Feizi, ICML 2022; with one offset it is Levine &
    Feizi's ⌊(N_c − N_j − [j < c]) / 2⌋).

    Args:
        votes: labels, (models, n), int64.
        classes: number of labels C.
        offsets: (d,), int64, different ones: the models that a bucket is given to.
    Returns:
        (n,), int64. Cost: C · n · models · (d + log models).
    """
    return torch.cat([_certified(part, classes, offsets) for part in votes.split(CHUNK, dim=1)])


def _certified(votes: Tensor, classes: int, offsets: Tensor) -> Tensor:
    total = counts(votes, classes)
    winner = total.argmax(1)
    best = total.gather(1, winner[:, None])[:, 0]
    least = torch.full_like(winner, len(votes))
    for other in range(classes):
        margin = best - total[:, other] - (other < winner).long()
        gain = 1 + (votes == winner).long() - (votes == other).long()
        by_bucket = sum((gain.roll(-int(offset), 0) for offset in offsets), torch.zeros_like(gain))
        taken = by_bucket.sort(dim=0, descending=True).values.cumsum(0)
        stands = (taken <= margin).sum(0)
        least = torch.where(winner == other, least, torch.minimum(least, stands))
    return least
