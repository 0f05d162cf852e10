"""Softmax over ten neighbours in memory and over ten rows: why logistic regression keeps its scores transposed."""

from __future__ import annotations

from typing import Any

import pytest
import torch


@pytest.mark.parametrize("layout", ["a-sample-a-row", "a-class-a-row"])
def test_log_softmax(benchmark: Any, layout: str, size: Any, generator: torch.Generator) -> None:
    scores = torch.randn(size.batch + size.poison, 10, generator=generator)
    expected = torch.log_softmax(scores, dim=1)
    if layout == "a-sample-a-row":
        found = benchmark(lambda: torch.log_softmax(scores, dim=1))
    else:
        transposed = scores.T.contiguous()
        found = benchmark(lambda: torch.log_softmax(transposed, dim=0)).T
    torch.testing.assert_close(found, expected)
