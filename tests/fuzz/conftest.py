"""What a bundle takes to be judged."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Judged = tuple[int, str, float]
"""The exit code of validate in a process of its own, what it prints, and the most memory that it took, MiB."""


def _peak_mib(folder: Path, first: str = "", home: Path | None = None) -> Judged:
    code = (
        f"import sys\nfrom pathlib import Path\n{first}\nfrom poisonbench.cli.main import main\ntry:\n    main()\n"
        "finally:\n    print(Path('/proc/self/status').read_text(), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "validate", str(folder), "--offline"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ if home is None else os.environ | {"POISONBENCH_HOME": str(home)},
    )
    told, _, status = done.stderr.partition("Name:")
    found = re.search(r"VmHWM:\s+(\d+)", status)  # ru_maxrss begins with the parent's
    assert found, told
    return done.returncode, done.stdout + told, int(found[1]) / 1024


@pytest.fixture(scope="session")
def peak_mib() -> Callable[..., Judged]:
    """`peak_mib(folder, first, home)`: judges a bundle, after `first` was run, with the data of `home`."""
    return _peak_mib
