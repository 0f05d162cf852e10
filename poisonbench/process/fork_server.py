"""Python's fork server, which imports what workers need once and forks each of them from there.

Import nothing here that takes long: a command starts the server first, and imports the same beside it.
"""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing.context import BaseContext
from typing import Any

_WORKERS = "poisonbench.sweeps.workers.processes"


def worker_context() -> BaseContext:
    """How worker processes are started: by the fork server, and where there is none each as a new interpreter."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context: Any = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([_WORKERS])
    found: BaseContext = context
    return found


def start_early(device: str, threads: int | None, jobs: int | None) -> None:
    """Start the fork server if the command may come to have workers; it ends with this process.

    Args:
        device: as asked for; large problems of a GPU start workers if they are asked for.
        threads: CPU threads that are allowed, or None for the cores.
        jobs: workers that are asked for, or None.
    """
    allowed = threads or int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    likely = allowed > 1 and device in ("auto", "cpu") if jobs is None else jobs > 1
    if likely and worker_context().get_start_method() == "forkserver":
        from multiprocessing.forkserver import ensure_running

        ensure_running()
