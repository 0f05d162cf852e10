"""Start a Ray cluster of this machine, or join one."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from poisonbench.errors import ConfigError
from poisonbench.plugged import VARIABLE
from poisonbench.process.openmp import yield_when_crowded

CONNECT_S = 5.0
"""How long a cluster may take to answer."""


@contextmanager
def cluster(address: str | None, cpus: int, gpus: int) -> Iterator[None]:
    """Connect to Ray, and disconnect at the end; a cluster that was started here ends with it.

    Args:
        address: a cluster to join, or None to start one on this machine.
        cpus: of a cluster that is started.
        gpus: of a cluster that is started.
    Raises:
        ConfigError: if there is no cluster at that address.
    """
    if address is not None and address != "auto":
        _refuse_silence(address)
    yield_when_crowded()  # workers that are started here inherit the environment
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # at Ray's 15 they would wait for anything else that runs
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    own = {"num_cpus": cpus, "num_gpus": gpus, "include_dashboard": False} if address is None else {}
    plugins = os.environ.get(VARIABLE)  # workers that are started here inherit it, those of a cluster do not
    theirs = {"runtime_env": {"env_vars": {VARIABLE: plugins}}} if address is not None and plugins else {}
    try:
        ray.init(address=address or "local", **quiet, **own, **theirs)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise ConfigError(f"--ray {address}: cannot join that cluster: {reason}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _refuse_silence(address: str) -> None:
    """Refuse an address that does not answer: Ray would wait for minutes."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not colon or not port.isdecimal():
        raise ConfigError(f"--ray {address}: expected auto or HOST:PORT, such as 10.0.0.1:6379.")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(f"--ray {address}: no cluster answers there: {error}. Start one with ray start.") from None
