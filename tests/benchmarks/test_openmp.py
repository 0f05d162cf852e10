"""A logistic regression's step beside one busy process, as OpenMP comes and with `yield_when_crowded`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

BUSY = "while True: pass"
SCRIPT = """
import json, sys
from poisonbench.process.openmp import yield_when_crowded

give_way, batch, repeats = json.loads(sys.argv[1])
if give_way:
    yield_when_crowded()
import statistics, time
import torch
from poisonbench.models.lr import LogisticRegression

torch.set_num_threads(2)
generator = torch.Generator().manual_seed(0)
model = LogisticRegression((1, 28, 28), 10, (0.5,), (0.5,))
weights, z, y = model.init(generator), torch.rand(batch, 784), torch.zeros(batch, dtype=torch.int64)
timings = []
for _ in range(repeats):
    began = time.perf_counter()
    model.gradient(weights, z, y)
    timings.append(time.perf_counter() - began)
print(json.dumps(statistics.median(timings)))
"""


@pytest.fixture
def busy(timed: bool) -> Iterator[None]:
    """Another process on the machine, if timings were asked for."""
    process = subprocess.Popen([sys.executable, "-P", "-c", BUSY]) if timed else None
    yield
    if process is not None:
        process.kill()
        process.wait()


@pytest.mark.usefixtures("busy")
@pytest.mark.parametrize("give_way", [False, True], ids=["as-it-is", "yield-when-crowded"])
def test_gradient_on_a_busy_machine(benchmark: Any, give_way: bool, timed: bool) -> None:
    """The figure is `gradient_s`, a median; the time of the benchmark itself includes starting Python."""
    arguments = json.dumps([give_way, 1030, 300] if timed else [give_way, 10, 2])
    environment = {
        name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    }

    def run() -> float:
        done = subprocess.run(
            [sys.executable, "-P", "-c", SCRIPT, arguments],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return float(json.loads(done.stdout))

    seconds = benchmark.pedantic(run, rounds=3 if timed else 1)
    benchmark.extra_info["gradient_s"] = seconds
    assert seconds > 0
