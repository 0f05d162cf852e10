"""The split of a protocol and a seed as a file: what an attacker outside poisonbench makes poison from."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save
from torch import Tensor

from poisonbench.data.split import Parts, split
from poisonbench.errors import ConfigError, StoreError
from poisonbench.experiment.protocol import Protocol
from poisonbench.files.atomic import write_atomically
from poisonbench.files.leftovers import clear_beside
from poisonbench.problem.samples import Dataset, Samples
from poisonbench.seeding import child_generator

SUFFIXES = (".npz", ".safetensors")


def check_name(output: Path) -> None:
    """Refuse a name of neither kind of file.

    Raises:
        ConfigError: if it is one.
    """
    if output.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"--output {output}: expected a name that ends in {' or '.join(SUFFIXES)}.")


def split_of(rules: Protocol, dataset: Dataset, seed: int) -> Parts[Samples]:
    """D_tr and D_v of a run with that seed, in the rows' order there."""
    generator = child_generator(seed, "split")
    return split(dataset.train, rules.validation, generator, rules.train_rows, rules.trusted)


def tensors(parts: Parts[Samples]) -> dict[str, Tensor]:
    """What goes into the file: x in float32, (n, channels, height, width), pixels in [0, 1], and y in int64, (n,), of
    D_tr and D_v. Neither the defender's trusted rows nor the test set are in it."""
    train, validation = parts.train, parts.validation
    return {"x_train": train.x, "y_train": train.y, "x_val": validation.x, "y_val": validation.y}


def write(found: dict[str, Tensor], output: Path) -> None:
    """Write the file whole or not at all: of the same tensors the same bytes.

    Raises:
        StoreError: if it cannot be written.
    """
    if output.suffix.lower() == ".npz":
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {name: value.numpy() for name, value in found.items()}
        np.savez(buffer, **arrays)
        data = buffer.getvalue()
    else:
        data = save({name: value.contiguous() for name, value in found.items()})
    try:
        clear_beside(output)
        write_atomically(output, data)
    except OSError as error:
        raise StoreError(f"Cannot write {output}: {error.strerror or error}. Choose another --output.") from error
