"""The simulations of docs/statistics.md run, and ranks and intervals hold what they say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent


def printed(script: str, repetitions: int, *options: str) -> list[list[str]]:
    """The lines of a script's tables."""
    done = subprocess.run(
        [sys.executable, str(FOLDER / script), "--repetitions", str(repetitions), *options],
        capture_output=True,
        text=True,
        check=True,
    )
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in done.stdout.splitlines()]


def test_intervals_cover_and_leads_are_rarely_false(timed: bool) -> None:
    options = ("--effects", "0.15", "--seeds", "3", "--images", "500", "--entries", "5")
    repetitions = 400 if timed else 40
    lines = printed("simulate_ranks.py", repetitions, *options)
    coverage = next(line for line in lines if len(line) == 7 and line[0] == "0.15")
    leads = next(line for line in lines if len(line) == 10 and line[0] == "0.15")
    slack = 4 * (0.05 * 0.95 / repetitions) ** 0.5 * 100
    assert min(float(coverage[4]), float(coverage[6])) > 95 - slack / 2  # of four times as many tables
    assert max(float(cell.split(" → ")[1]) for cell in leads[4:8]) < 5 + slack


def test_the_interval_of_the_largest_drop_holds_it(timed: bool) -> None:
    options = ("--effects", "0.15", "--seeds", "10", "--images", "500", "--attacks", "10")
    repetitions = 400 if timed else 40
    equal, apart = printed("simulate_worst.py", repetitions, *options)[2:]
    slack = 4 * (0.05 * 0.95 / repetitions) ** 0.5 * 100
    assert min(float(equal[6]), float(apart[6])) > 95 - slack
    assert float(equal[6]) >= float(equal[5])
    assert float(equal[7]) > 0
