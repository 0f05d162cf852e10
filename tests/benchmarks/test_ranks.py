"""The simulation of docs/statistics.md runs, and its ranks hold what they say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("simulate_ranks.py")


def test_intervals_cover_and_leads_are_rarely_false(timed: bool) -> None:
    options = ("--effects", "0.15", "--seeds", "3", "--images", "500", "--entries", "5")
    repetitions = 400 if timed else 40
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--repetitions", str(repetitions), *options],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in done.stdout.splitlines()]
    coverage = next(line for line in lines if len(line) == 7 and line[0] == "0.15")
    leads = next(line for line in lines if len(line) == 10 and line[0] == "0.15")
    slack = 4 * (0.05 * 0.95 / repetitions) ** 0.5 * 100
    assert min(float(coverage[4]), float(coverage[6])) > 95 - slack / 2  # of four times as many tables
    assert max(float(cell.split(" → ")[1]) for cell in leads[4:8]) < 5 + slack
