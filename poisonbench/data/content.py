"""A dataset's canonical content: four uint8 arrays, the SHA-256s that identify them, the tensors made of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from poisonbench.data.base import DatasetSource
from poisonbench.errors import CorruptFileError
from poisonbench.plugins.registry import name_of
from poisonbench.problem.samples import Dataset, Samples

Bytes = NDArray[np.uint8]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """The specification of one of the four arrays: its shape, and the SHA-256 of its bytes in row-major order."""

    shape: tuple[int, ...]
    sha256: str


Parts = Mapping[str, Part]
"""The four arrays that make a dataset, by the names of `Content`'s fields."""


@dataclass(frozen=True, eq=False)
class Content:
    """The content of a dataset: images N×H×W, or N×H×W×3 in RGB, and labels of one byte each; C-contiguous uint8."""

    train_images: Bytes
    train_labels: Bytes
    test_images: Bytes
    test_labels: Bytes

    def arrays(self) -> dict[str, Bytes]:
        """The four arrays by name, in canonical order."""
        return {
            "train_images": self.train_images,
            "train_labels": self.train_labels,
            "test_images": self.test_images,
            "test_labels": self.test_labels,
        }

    def digests(self) -> dict[str, str]:
        """The SHA-256 of each array's bytes in row-major order."""
        return {name: hashlib.sha256(array.data).hexdigest() for name, array in self.arrays().items()}


def fingerprint(digests: Iterable[str]) -> str:
    """The `Dataset.sha256` of a content: SHA-256 of the four arrays' hexadecimal SHA-256s, one a line, in canonical
    order."""
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def check(content: Content, parts: Parts) -> None:
    """Compare every array with what it must be.

    Raises:
        CorruptFileError: on the first that differs, naming it.
    """
    for name, array in content.arrays().items():
        if array.shape != parts[name].shape:
            raise CorruptFileError(f"{name} has shape {array.shape}, expected {parts[name].shape}")
        found = hashlib.sha256(array.data).hexdigest()
        if found != parts[name].sha256:
            raise CorruptFileError(f"{name} has SHA-256 {found[:12]}…, expected {parts[name].sha256[:12]}…")


def ones_and_sevens(digits: Content) -> tuple[Content, Rows, Rows]:
    """The ones (class 0) and sevens (class 1) of ten digits, and which training and which test rows they are."""
    train, test = (
        np.flatnonzero((labels == 1) | (labels == 7)).astype(np.int64)
        for labels in (digits.train_labels, digits.test_labels)
    )
    content = Content(
        train_images=digits.train_images[train],
        train_labels=(digits.train_labels[train] == 7).astype(np.uint8),
        test_images=digits.test_images[test],
        test_labels=(digits.test_labels[test] == 7).astype(np.uint8),
    )
    return content, train, test


def not_a(path: Path, kind: str) -> CorruptFileError:
    """The error for a file that should have been `kind`; it says so if the file looks like a web page saved under its
    name."""
    with path.open("rb") as file:
        head = file.read(256).lstrip(b"\xef\xbb\xbf \t\r\n")
    hint = " (an HTML page?)" if head.startswith(b"<") else ""
    return CorruptFileError(f"{path.name} is {path.stat().st_size} bytes, not {kind}{hint}")


def as_dataset(
    source: DatasetSource,
    content: Content,
    sha256: str,
    ids: tuple[torch.Tensor, torch.Tensor] | None = None,
    white: int = 255,
) -> Dataset:
    """The dataset made of canonical content, with pixels in [0, 1].

    Args:
        source: gives name, classes, mean and std.
        content: the four arrays.
        sha256: identifies that content.
        ids: stable ids of the training rows and of the test rows, no two alike; None for row numbers, the test rows'
            after the training rows'.
        white: the byte that becomes 1.0.
    """
    n_train, n_test = len(content.train_labels), len(content.test_labels)
    train_ids, test_ids = ids or (torch.arange(n_train), torch.arange(n_train, n_train + n_test))
    return Dataset(
        name=name_of(type(source)),
        sha256=sha256,
        train=Samples(_pixels(content.train_images, white), _labels(content.train_labels), train_ids),
        test=Samples(_pixels(content.test_images, white), _labels(content.test_labels), test_ids),
        classes=source.classes,
        mean=source.mean,
        std=source.std,
    )


def _pixels(images: Bytes, white: int) -> torch.Tensor:
    tensor = torch.from_numpy(images)
    tensor = tensor[:, None] if tensor.ndim == 3 else tensor.permute(0, 3, 1, 2)
    return tensor.to(torch.float32, memory_format=torch.contiguous_format).div_(white)


def _labels(labels: Bytes) -> torch.Tensor:
    return torch.from_numpy(labels).to(torch.int64)
