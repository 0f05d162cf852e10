"""Time the quick start on an idle machine, beside two busy processes, and again from the store.

    python tests/benchmarks/default_run.py [--repeats 3]

Each is a process of its own with a home of its own; the minimum and the median of its wall seconds are printed, and for
the second the ratio to the first. Other work on the machine spoils the first: see that there is none.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

COMMAND = ("--attack", "tgda", "--defense", "sever")
BUSY = "while True: pass"


def seconds(home: str) -> float:
    """Wall seconds of the default run, from the start of the interpreter to its end."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-P", "-m", "poisonbench", "run", *COMMAND],
        env={**environment, "POISONBENCH_HOME": home},
        check=True,
        capture_output=True,
    )
    return time.monotonic() - began


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many processes that do nothing but compute."""
    running = [subprocess.Popen([sys.executable, "-P", "-c", BUSY]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    found: dict[str, list[float]] = {"idle": [], "from the store": [], "beside two busy processes": []}
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as home:
            found["idle"].append(seconds(home))
            found["from the store"].append(seconds(home))
        with tempfile.TemporaryDirectory() as home, busy(2):
            found["beside two busy processes"].append(seconds(home))
    for name, times in found.items():
        ratio = statistics.median(times) / statistics.median(found["idle"])
        print(f"{name:26} min {min(times):6.1f} s   median {statistics.median(times):6.1f} s   {ratio:5.2f} of idle")


if __name__ == "__main__":
    main()
