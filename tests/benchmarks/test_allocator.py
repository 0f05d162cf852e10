"""A convolution's forward pass with and without `keep_freed_blocks`, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

SCRIPT = """
import json, sys, time
import torch
import torch.nn.functional as F
from poisonbench.process.allocator import keep_freed_blocks

keep, batch, repeats = json.loads(sys.argv[1])
if keep:
    keep_freed_blocks()
torch.set_num_threads(1)
x, w = torch.zeros(batch, 1, 28, 28), torch.zeros(16, 1, 5, 5)
for _ in range(2):
    F.conv2d(x, w, padding=2)
began = time.perf_counter()
for _ in range(repeats):
    F.conv2d(x, w, padding=2)
print(json.dumps((time.perf_counter() - began) / repeats))
"""


@pytest.mark.parametrize("keep", [False, True], ids=["as-it-is", "keep-freed-blocks"])
def test_convolution_forward(benchmark: Any, keep: bool, timed: bool) -> None:
    """The figure is `forward_s`; the time of the benchmark itself includes starting Python."""
    arguments = json.dumps([keep, 1030, 50] if timed else [keep, 10, 2])

    def run() -> float:
        done = subprocess.run([sys.executable, "-P", "-c", SCRIPT, arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return float(json.loads(done.stdout))

    seconds = benchmark.pedantic(run, rounds=3 if timed else 1)
    benchmark.extra_info["forward_s"] = seconds
    assert seconds > 0
