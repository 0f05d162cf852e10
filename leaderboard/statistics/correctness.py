"""Which test images a record's models got right, from the predictions that are kept beside it. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from poisonbench.errors import CorruptFileError, ValidationError
from poisonbench.store.artifacts import Artifacts, Kind
from poisonbench.store.record import Record

Labels = NDArray[np.int64]
Correct = NDArray[np.bool_]

SIGNED_KINDS: Mapping[str, Mapping[Kind, int]] = {
    "acc1": {"clean-predictions": 1},
    "acc2": {"predictions": 1},
    "drop": {"clean-predictions": 1, "predictions": -1},
}
"""The values that are means over test images: of which predictions, and with which sign."""


def correct(record: Record, labels: Labels, artifacts: Artifacts) -> dict[Kind, Correct] | None:
    """Whether each test image was right, (n_test,), by kind of predictions; None if some were not kept here.

    Args:
        record: whose status is ok.
        labels: of the test set in its canonical order, (n_test,).
        artifacts: of the store that the record is in.
    Raises:
        CorruptFileError: if a file is damaged, or holds no predictions of that test set.
        ValidationError: if predictions and labels do not give the record's accuracies, to the last image.
    """
    files = {artifact.kind: artifact for artifact in record.artifacts}
    metrics = record.metrics
    if metrics is None or not all(kind in files and artifacts.has(files[kind].sha256) for kind in SIGNED_KINDS["drop"]):
        return None
    accuracies: dict[Kind, float] = {"clean-predictions": metrics.acc1, "predictions": metrics.acc2}
    found: dict[Kind, Correct] = {}
    for kind, accuracy in accuracies.items():
        predictions = _predictions(artifacts.get_bytes(files[kind].sha256))
        if predictions is None or predictions.shape != labels.shape:
            raise CorruptFileError(f"{files[kind].path} does not hold the classes of {len(labels)} test images.")
        found[kind] = predictions == labels
        if abs(100.0 * found[kind].mean() - accuracy) > 1e-9:
            raise ValidationError(
                f"The {kind} of record {record.record_id} give an accuracy of {100.0 * found[kind].mean():.4f} %, the "
                f"record says {accuracy:.4f}. Run the cell again with --force."
            )
    return found


def _predictions(data: bytes) -> NDArray[np.int16] | None:
    try:
        return load(data).get("predictions")
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError):  # a dtype that NumPy does not have
        return None
