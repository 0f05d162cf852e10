"""Start a Ray cluster of this machine, or join one."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from poisonbench.errors import ConfigError
from poisonbench.openmp import yield_when_crowded


@contextmanager
def cluster(address: str | None, cpus: int, gpus: int) -> Iterator[None]:
    """A connection to Ray, closed at the end; a cluster that was started here ends with it.

    Args:
        address: a cluster to join, or None to start one on this machine.
        cpus: of a cluster that is started.
        gpus: of a cluster that is started.
    Raises:
        ConfigError: if there is no cluster at that address.
    """
    yield_when_crowded()  # workers that are started here inherit the environment
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    own = {"num_cpus": cpus, "num_gpus": gpus, "include_dashboard": False} if address is None else {}
    try:
        ray.init(address=address or "local", **quiet, **own)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise ConfigError(f"--ray {address}: cannot join that cluster: {reason}") from error
    try:
        yield
    finally:
        ray.shutdown()
