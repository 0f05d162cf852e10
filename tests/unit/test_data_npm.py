"""npm pack, with a stand-in for npm on PATH."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from poisonbench.data import npm
from poisonbench.errors import DataError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a shell script")


def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    program = tmp_path / "bin" / "npm"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")


@pytest.fixture
def into(tmp_path: Path) -> Path:
    (tmp_path / "into").mkdir()
    return tmp_path / "into"


def test_not_installed(into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(into))
    with pytest.raises(DataError, match="npm is not installed"):
        npm.npm_pack("toy@1.0.0", into)


def test_brings_the_tarball_and_runs_no_scripts(tmp_path: Path, into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, monkeypatch, 'echo "$@" > arguments; echo data > toy-1.0.0.tgz')
    assert npm.npm_pack("toy@1.0.0", into) == into / "toy-1.0.0.tgz"
    assert (into / "arguments").read_text().startswith("pack toy@1.0.0 --ignore-scripts ")


def test_a_failure_is_one_line(tmp_path: Path, into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    complaint = "npm error code ENOTFOUND\nnpm error network no route\nnpm error a long story"
    stand_in(tmp_path, monkeypatch, f"echo '{complaint}' >&2; exit 1")
    with pytest.raises(DataError) as caught:
        npm.npm_pack("toy@1.0.0", into)
    assert str(caught.value) == "npm pack toy@1.0.0 failed: code ENOTFOUND network no route"


def test_a_silent_failure(tmp_path: Path, into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, monkeypatch, "exit 1")
    with pytest.raises(DataError, match="it said nothing"):
        npm.npm_pack("toy@1.0.0", into)


def test_too_slow(tmp_path: Path, into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, monkeypatch, "exec sleep 30")
    monkeypatch.setattr(npm, "TIMEOUT", 0.2)
    with pytest.raises(DataError, match=r"took longer than 0\.2 s"):
        npm.npm_pack("toy@1.0.0", into)


def test_no_tarball(tmp_path: Path, into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, monkeypatch, "exit 0")
    with pytest.raises(DataError, match="left 0 tarballs"):
        npm.npm_pack("toy@1.0.0", into)
