"""Margins of multi-class scores."""

from __future__ import annotations

from torch import Tensor


def best_other_class(logits: Tensor, y: Tensor) -> Tensor:
    """The class argmax_{j ≠ y} of each row's scores, (n,)."""
    return logits.scatter(1, y[:, None], float("-inf")).argmax(1)


def multiclass_hinge(logits: Tensor, y: Tensor) -> Tensor:
    """The hinge loss max(0, 1 + max_{j ≠ y} s_j − s_y) of each row, (n,).

    Source: Crammer & Singer, JMLR 2001; equation 38 of Lu, Kamath & Yu, TMLR 2022.
    """
    other = best_other_class(logits.detach(), y)
    rival = logits.gather(1, other[:, None]).squeeze(1)
    own = logits.gather(1, y[:, None]).squeeze(1)
    return (1 + rival - own).clamp(min=0)
