"""The wheel, built once from a copy of the checkout, so that no earlier build's leftovers get into it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
SOURCES = ("poisonbench", "attacks", "defenses", "leaderboard", "protocols")


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The root of the checkout."""
    return CHECKOUT


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the wheel is built from."""
    source = tmp_path_factory.mktemp("source")
    for folder in SOURCES:
        shutil.copytree(CHECKOUT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / file, source / file)
    return source


@pytest.fixture(scope="session")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as pip builds it."""
    output = tmp_path_factory.mktemp("wheel")
    here = ["--no-build-isolation"] if _setuptools() >= 77 else []  # else pip fetches one
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", *here, "--wheel-dir", str(output), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=output)
    assert done.returncode == 0, done.stderr
    return next(output.glob("poisonbench-*.whl"))


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel unpacked, and nothing else. That pip installs it, .ci/run sees."""
    target = tmp_path_factory.mktemp("target")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


def _setuptools() -> int:
    try:
        return int(version("setuptools").partition(".")[0])
    except PackageNotFoundError:
        return 0
