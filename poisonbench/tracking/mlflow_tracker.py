"""Runs in MLflow: at $MLFLOW_TRACKING_URI, or its own default, in $MLFLOW_EXPERIMENT_NAME or `poisonbench`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from poisonbench.tracking.tracked import RECORD_ID, Tracked
from poisonbench.tracking.tracker import Tracker

_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
"""A server that is away is waited for some seconds; MLflow's own defaults are many minutes."""

_BATCH = 100
"""Parameters, tags or metrics in one request: MLflow takes no more of the first two."""

_LONGEST = 5000
"""Characters of a value, of which it refuses more."""

_PAGE = 1000
"""Runs that are listed in one request."""


class MlflowTracker(Tracker):
    """See the module; one run a record, known by its tag."""

    def __init__(self) -> None:
        for name, value in _PATIENCE.items():
            os.environ.setdefault(name, value)
        self._client = MlflowClient()
        self._experiment: str | None = None
        self._there: set[str] = set()

    def log(self, run: Tracked) -> None:
        """See Tracker. What is not whole is deleted again."""
        experiment = self._opened()
        if run.record_id in self._there:
            return
        began, ended = round(1000 * run.began), round(1000 * run.ended)
        made = self._client.create_run(experiment, start_time=began, run_name=run.name).info.run_id
        try:
            params = [Param(name, value[:_LONGEST]) for name, value in run.params.items()]
            metrics = [*_metrics(run, ended)]
            tags = [RunTag(name, value[:_LONGEST]) for name, value in {**run.tags, RECORD_ID: run.record_id}.items()]
            for start in range(0, max(map(len, (params, metrics, tags))), _BATCH):
                part = slice(start, start + _BATCH)
                self._client.log_batch(made, metrics=metrics[part], params=params[part], tags=tags[part])
            self._client.set_terminated(made, "FINISHED" if run.good else "FAILED", ended)
        except BaseException:
            with suppress(Exception):
                self._client.delete_run(made)
            raise
        self._there.add(run.record_id)

    def _opened(self) -> str:
        """The experiment, of whose runs it is known which record each is of; made if there is none."""
        if self._experiment is None:
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "poisonbench"
            found = self._client.get_experiment_by_name(name)
            experiment: str = found.experiment_id if found else self._client.create_experiment(name)
            token = None
            while True:
                page = self._client.search_runs([experiment], max_results=_PAGE, page_token=token)
                self._there |= {one.data.tags[RECORD_ID] for one in page if RECORD_ID in one.data.tags}
                token = page.token
                if not token:
                    break
            self._experiment = experiment
        return self._experiment


def connect() -> MlflowTracker:
    """See tracker.TRACKERS; opens no connection yet."""
    return MlflowTracker()


def _metrics(run: Tracked, ended: int) -> Iterator[Metric]:
    for name, value in run.metrics.items():
        yield Metric(name, value, ended, 0)
    for name, values in run.curves.items():
        for epoch, value in zip(run.epochs, values, strict=True):
            yield Metric(name, value, ended, epoch)
