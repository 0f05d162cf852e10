"""Ctrl-C, twice, wherever it comes."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import os, signal, time
from poisonbench.terminal.interrupt import interruptible
signal.signal(signal.SIGINT, signal.default_int_handler)
with interruptible():
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)
    {then}
"""
THEN = {
    "nothing": "finally: pass",
    "another amid the cleaning up": "finally: os.kill(os.getpid(), signal.SIGINT); time.sleep(60)",
    "another error made of it": "except KeyboardInterrupt: raise AttributeError('half a module')",
}


@pytest.mark.parametrize("then", THEN.values(), ids=THEN)
def test_the_end_is_a_line_and_130(then: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(then=then)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 130, done.stderr
    assert done.stderr == "Interrupted. Run the same command again to go on from there.\n"
