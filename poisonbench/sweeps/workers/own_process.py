"""A process of its own, for work that a plugin takes part in: what it is given, and what its end is told as."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from poisonbench.data.base import DataFiles, DataOptions
from poisonbench.errors import MethodError
from poisonbench.process.allocator import keep_freed_blocks
from poisonbench.stages.cache import StageCache
from poisonbench.stages.stage import Deadline
from poisonbench.store.connections import BUSY_SECONDS
from poisonbench.store.database import Store
from poisonbench.sweeps.workers.processes import end_with_parent
from poisonbench.sweeps.workers.reports import RemoteProgress, ReportFolder


@dataclass(frozen=True)
class OwnProcess:
    """What a process is given to work with.

    Attributes:
        owner: names the work.
        device: where to compute.
        threads: CPU threads.
        timeout: seconds that it may take.
        store: what opens it; it is there.
        data: where datasets come from.
        files: the files of datasets.
        reports: where to say how far it is.
    """

    owner: str
    device: str
    threads: int
    timeout: float | None
    store: str
    data: DataOptions
    files: DataFiles
    reports: ReportFolder

    @contextmanager
    def stages(self) -> Iterator[StageCache]:
        """Set this process up, and open its store: it ends with the process that started it, to which Ctrl-C goes."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        end_with_parent()
        keep_freed_blocks()
        torch.set_num_threads(self.threads)
        progress = RemoteProgress(self.reports.tell, self.owner)
        progress.begin("start", None, 0)
        with Store.open(self.store, BUSY_SECONDS) as store:
            yield StageCache(store, torch.device(self.device), progress, Deadline.after(self.timeout), data=self.files)


def ended_by(plugins: Iterable[str], ending: str) -> MethodError:
    """The error of a process that ended before its work did.

    Args:
        plugins: whose code ran in it, such as "attack my-own".
        ending: how, as `Child.ending` has it.
    """
    authors = " or ".join(f"the {name}" for name in plugins) or "something"
    return MethodError(f"{authors} ended the process ({ending}). Return or raise; never call os._exit.")
