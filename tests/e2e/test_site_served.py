"""`poisonbench leaderboard serve` from the beginning to Ctrl-C."""

from __future__ import annotations

import re
import signal
import urllib.request
from collections.abc import Callable
from typing import Any


def test_it_is_served_until_ctrl_c(fresh: Callable[..., Any]) -> None:
    process = fresh().start("leaderboard", "serve", "--no-open")
    told = next(line for line in process.stderr if line.startswith("Serving"))  # a slow build says how far it is
    found = re.fullmatch(r"Serving (http://127\.0\.0\.1:\d+/) until Ctrl-C\.\n", told)
    assert found
    with urllib.request.urlopen(found[1], timeout=10) as response:
        assert b"<h1>Which poisoning attack is strongest" in response.read()
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stdout, stderr) == (0, "", "")
