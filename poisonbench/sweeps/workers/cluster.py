"""Join a Ray cluster."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from poisonbench.errors import ConfigError
from poisonbench.plugged import VARIABLE

CONNECT_S = 5.0
"""How long a cluster may take to answer."""


@contextmanager
def cluster(address: str) -> Iterator[None]:
    """Connect to a Ray cluster, and disconnect at the end.

    Args:
        address: of its head, or auto for one that runs on this machine.
    Raises:
        ConfigError: if there is no cluster at that address.
    """
    if address != "auto":
        _refuse_silence(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    plugins = os.environ.get(VARIABLE)  # a cluster's workers do not inherit it
    theirs = {"runtime_env": {"env_vars": {VARIABLE: plugins}}} if plugins else {}
    try:
        ray.init(address=address, **quiet, **theirs)
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
