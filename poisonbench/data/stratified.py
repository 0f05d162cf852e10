"""The test part of a dataset that comes in one piece: drawn once and for all, every class with its share."""

from __future__ import annotations

import numpy as np
import torch

from poisonbench.data.content import Bytes, Rows


def stratified(labels: Bytes, n_test: int, generator: torch.Generator) -> tuple[Rows, Rows]:
    """The rows of the training and of the test part, each ascending; every class gives its share, by largest
    remainder.

    Args:
        labels: of all rows, 0 to C − 1.
        n_test: rows of the test part.
        generator: decides which; nothing else does.
    """
    rows = [np.flatnonzero(labels == label) for label in range(int(labels.max()) + 1)]
    share = np.array([len(row) * n_test for row in rows])
    quota, remainder = np.divmod(share, len(labels))
    quota[np.argsort(-remainder, kind="stable")[: n_test - quota.sum()]] += 1
    drawn = [row[torch.randperm(len(row), generator=generator).numpy()[:n]] for row, n in zip(rows, quota, strict=True)]
    test = np.sort(np.concatenate(drawn)).astype(np.int64)
    return np.setdiff1d(np.arange(len(labels), dtype=np.int64), test), test
