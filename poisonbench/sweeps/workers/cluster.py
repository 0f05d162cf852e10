"""Join a Ray cluster, and hear when it is lost."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import ray
import ray.exceptions

from poisonbench.errors import ClusterError, ConfigError
from poisonbench.guard.method_errors import first_line
from poisonbench.plugged import VARIABLE
from poisonbench.process.native_stderr import stderr_dropped
from poisonbench.sweeps.workers.token_file import exposed_token
from poisonbench.terminal.last_words import end_with

CONNECT_S = 5.0
"""How long a cluster may take to answer."""

LOST_S = 25.0
"""How long its head may be silent."""

_STUCK_S = 40.0
"""After this much silence the process ends, stuck in a call to the head or not. After a minute Ray itself would end it,
in a line of its own."""

_RETRY_S = 1.0
_REFUSED = "InvalidAuthToken"


@dataclass(frozen=True)
class Head:
    """The head of a cluster.

    Attributes:
        address: HOST:PORT.
    """

    address: str

    def reach(self, patience: float) -> None:
        """Make sure that it answers.

        Args:
            patience: seconds for which it may not.
        Raises:
            OSError: if it did not in all that time.
        """
        host, _, port = self.address.rpartition("://")[2].rpartition(":")
        until = time.monotonic() + patience
        while True:
            try:
                socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()
                return
            except OSError:
                if time.monotonic() > until:
                    raise
            time.sleep(_RETRY_S)

    def wait(self) -> None:
        """Wait for it while it is silent: what is asked of it meanwhile would never return.

        Raises:
            ClusterError: if it is lost.
        """
        try:
            self.reach(LOST_S)
        except OSError as error:
            raise _silent(self, error) from error


@contextmanager
def cluster(address: str) -> Iterator[Head]:
    """Connect to a Ray cluster, and disconnect at the end, which ends whatever it still runs for this process.

    Args:
        address: of its head, or auto for one that runs on this machine.
    Raises:
        ConfigError: if there is no cluster at that address, it does not let this process in, or its token is exposed.
        ClusterError: if it is lost within.
    """
    if address != "auto":
        _refuse_silence(address)
    if os.environ.get("RAY_AUTH_MODE") != "disabled" and (exposed := exposed_token()):
        raise ConfigError(f"--ray {address}: {exposed}")
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    plugins = os.environ.get(VARIABLE)  # a cluster's workers do not inherit it
    theirs = {"runtime_env": {"env_vars": {VARIABLE: plugins}}} if plugins else {}
    try:
        with stderr_dropped():
            ray.init(address=address, **quiet, **theirs)
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        raise ConfigError(f"--ray {address}: cannot join that cluster: {_refusal(error)}") from error
    head, over = Head(ray.get_runtime_context().gcs_address), threading.Event()
    threading.Thread(target=_watch, args=(head, over), daemon=True).start()
    try:
        yield head
    except ray.exceptions.RayTaskError:  # a mistake of ours on a worker
        raise
    except ray.exceptions.RayActorError as error:
        raise _lost("the process that keeps the store for its workers, or Ray's own on this machine, died") from error
    except ray.exceptions.RayError as error:
        raise _lost(first_line(error)) from error
    finally:
        ray.shutdown()
        over.set()


def _watch(head: Head, over: threading.Event) -> None:
    """End the process if the head is lost while it waits for an answer of it, until all is over."""
    while not over.wait(_RETRY_S):
        try:
            head.reach(_STUCK_S)
        except OSError as error:
            if not over.is_set():
                lost = _silent(head, error)
                end_with(f"Error: {lost}", lost.exit_code)


def _refuse_silence(address: str) -> None:
    """Refuse an address that does not answer: Ray would wait for minutes."""
    _, colon, port = address.rpartition("://")[2].rpartition(":")
    if not colon or not port.isdecimal():
        raise ConfigError(f"--ray {address}: expected auto or HOST:PORT, such as 10.0.0.1:6379.")
    try:
        Head(address).reach(0)
    except (OSError, OverflowError) as error:
        raise ConfigError(f"--ray {address}: no cluster answers there: {error}. Start one with ray start.") from None


def _refusal(error: BaseException) -> str:
    """Why a cluster was not joined, and what to do."""
    if isinstance(error, ray.exceptions.AuthenticationError) or _REFUSED in str(error.__cause__):
        return (
            "it asks for a token, which is missing here or another. Set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN to the "
            "cluster's, as on all its machines."
        )
    return first_line(error)


def _silent(head: Head, error: OSError) -> ClusterError:
    return _lost(f"its head at {head.address} is silent: {error}")


def _lost(reason: str) -> ClusterError:
    return ClusterError(
        f"The cluster is lost: {reason}. What was finished is in the store; run the same command again to go on."
    )
