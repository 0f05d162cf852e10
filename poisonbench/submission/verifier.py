"""The verification of a bundle, record by record: what is wrong with one keeps no other from being trained again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from poisonbench.data.base import DataOptions, data_files, silent
from poisonbench.errors import (
    CorruptFileError,
    DivergedError,
    MethodError,
    OutOfMemoryError,
    StageTimeoutError,
    UsageError,
    ValidationError,
)
from poisonbench.files.scratch import scratch_folder
from poisonbench.problem.samples import Dataset
from poisonbench.stages.cache import StageCache
from poisonbench.stages.stage import Deadline, Progress
from poisonbench.store.database import Store
from poisonbench.store.record import Record
from poisonbench.submission.apart import plugins_of, reexecute_apart
from poisonbench.submission.evidence import Validator, rules
from poisonbench.submission.reexecution import Reexecution, reexecute
from poisonbench.sweeps.workers.own_process import OwnProcess
from poisonbench.sweeps.workers.reports import ReportFolder

_ABOUT_THE_RECORD = (
    ValidationError,
    CorruptFileError,
    UsageError,
    StageTimeoutError,
    DivergedError,
    MethodError,
    OutOfMemoryError,
)
"""What a record, its files or its defense are to blame for; any other error is this machine's, and ends it all."""


@dataclass(frozen=True)
class Verifier:
    """Trains again on the poison sets of a bundle's records.

    Attributes:
        validator: of the bundle.
        load: gives datasets, in memory; DataError if one cannot be had.
        store: of the trainings; nothing of the submitter's is in it.
        data: where datasets come from.
        device: where to compute.
        progress: who watches.
        timeout: seconds that a record may take, or None.
    """

    validator: Validator
    load: Callable[[str], Dataset]
    store: Store
    data: DataOptions
    device: torch.device
    progress: Progress
    timeout: float | None = None

    def verdict(self, record: Record) -> Reexecution | str:
        """What came of a record, or why it was not trained again.

        Raises:
            DataError: if its dataset is not here.
            StoreError: if the store cannot be written.
        """
        try:
            return self._reexecute(record)
        except _ABOUT_THE_RECORD as error:
            return str(error)

    def _reexecute(self, record: Record) -> Reexecution:
        settings, poison = rules(record), self.validator.check(record).load()
        files = data_files(self.data, plugins=False)
        if not plugins_of(record):
            deadline = Deadline.after(self.timeout)
            stages = StageCache(self.store, self.device, self.progress, deadline, data=files)
            return reexecute(record, settings, poison, self.load(settings.protocol.dataset), stages)
        with scratch_folder() as folder:
            given = OwnProcess(
                record.record_id,
                str(self.device),
                torch.get_num_threads(),
                self.timeout,
                self.store.location.name,
                replace(self.data, report=silent),
                files,
                ReportFolder(folder),
            )
            return reexecute_apart(record, poison, given, self.progress)
