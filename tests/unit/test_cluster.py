"""What can be told of a Ray cluster without one: its token's file, a head that is silent."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from poisonbench.errors import ClusterError, ConfigError
from poisonbench.sweeps.workers.token_file import exposed_token


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The token's file, where Ray makes it, and as, in a home that others may enter; pytest's folders are closed."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        monkeypatch.setattr(Path, "home", lambda: Path(name))
        yield _token(Path(name), monkeypatch)


def _token(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    file = home / ".ray" / "auth_token"
    file.parent.mkdir()
    file.write_text("0" * 64, "ascii")
    file.chmod(0o644)
    return file


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o604, 0o622])
def test_a_token_that_others_reach_is_told_of(token: Path, mode: int) -> None:
    token.chmod(mode)
    assert f"chmod 600 {token}" in (exposed_token() or "")


def test_a_token_of_ones_own_is_well(token: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = token.with_name("other")
    other.write_text("1", "ascii")
    other.chmod(0o644)
    token.chmod(0o600)
    assert exposed_token() is None
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(other))
    assert str(other) in (exposed_token() or "")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "2")  # which Ray takes first
    assert exposed_token() is None
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token.with_name("nowhere")))
    assert exposed_token() is None


def test_a_token_in_a_home_that_nobody_else_enters_is_well(token: Path) -> None:
    token.parent.chmod(0o700)
    assert exposed_token() is None


def test_a_cluster_is_not_joined_with_a_token_that_others_reach(token: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = pytest.importorskip("poisonbench.sweeps.workers.cluster")
    monkeypatch.setattr(cluster.ray, "init", lambda **_: pytest.fail("it was joined"))
    with (
        pytest.raises(ConfigError, match=rf"--ray auto: {token}: others can read this token"),
        cluster.cluster("auto"),
    ):
        pass
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(pytest.fail.Exception, match="it was joined"), cluster.cluster("auto"):
        pass


def test_a_silent_head_is_waited_for_and_then_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = pytest.importorskip("poisonbench.sweeps.workers.cluster")
    with socket.create_server(("127.0.0.1", 0)) as server:
        head = cluster.Head(f"127.0.0.1:{server.getsockname()[1]}")
        head.wait()
    monkeypatch.setattr(cluster, "LOST_S", 0.2)
    monkeypatch.setattr(cluster, "_RETRY_S", 0.1)
    with pytest.raises(ClusterError, match=rf"its head at {head.address} is silent: .*run the same command again"):
        head.wait()


STUCK = """
import threading, time
from poisonbench.sweeps.workers import cluster
cluster._STUCK_S, cluster._RETRY_S = 0.2, 0.1
threading.Thread(target=cluster._watch, args=(cluster.Head("127.0.0.1:1"), threading.Event()), daemon=True).start()
time.sleep(60)
"""


def test_a_process_that_is_stuck_in_a_call_to_a_lost_head_ends() -> None:
    pytest.importorskip("ray")
    done = subprocess.run([sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: The cluster is lost: its head at 127.0.0.1:1 is silent: ")


def test_what_the_user_says_to_ray_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    from poisonbench.sweeps.workers.ray_environment import quiet_ray

    monkeypatch.setattr(os, "environ", {"RAY_USAGE_STATS_ENABLED": "1"})
    quiet_ray()
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "1"
    assert os.environ["RAY_DEDUP_LOGS_SKIP_REGEX"] == "."
