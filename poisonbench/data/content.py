"""A dataset's canonical content: four uint8 arrays, the SHA-256s that identify them, the dataset made of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from poisonbench.data.base import DatasetSource
from poisonbench.errors import CorruptFileError
from poisonbench.files.stored_tensor import StoredTensor
from poisonbench.images import Images, blocks
from poisonbench.plugins.registry import name_of
from poisonbench.problem.open_samples import OpenDataset, OpenSamples

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

    def tensors(self) -> dict[str, Images]:
        """The same as tensors, in the arrays' memory."""
        return {name: torch.from_numpy(array) for name, array in self.arrays().items()}

    def digests(self) -> dict[str, str]:
        """The SHA-256 of each array's bytes in row-major order."""
        return {name: sha256_of(tensor) for name, tensor in self.tensors().items()}


@dataclass(frozen=True)
class StoredContent:
    """The content of a cache file, of which only what is asked for is read.

    Attributes:
        stored: the four arrays by name, in canonical order.
    """

    stored: Mapping[str, StoredTensor]

    def tensors(self) -> dict[str, Images]:
        """See Content."""
        return dict(self.stored)

    def load(self) -> Content:
        """All of it, in memory."""
        return Content(**{name: tensor[:].numpy() for name, tensor in self.stored.items()})


class AnyContent(Protocol):
    """Content in memory, or in its file."""

    def tensors(self) -> dict[str, Images]:
        """The four arrays by name, in canonical order."""


def sha256_of(tensor: Images) -> str:
    """The SHA-256 of a tensor's bytes in row-major order."""
    digest = hashlib.sha256()
    for part in blocks(tensor.shape):
        digest.update(tensor[part].numpy().data)
    return digest.hexdigest()


def fingerprint(digests: Iterable[str]) -> str:
    """The `Dataset.sha256` of a content: SHA-256 of the four arrays' hexadecimal SHA-256s, one a line, in canonical
    order."""
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def check(content: AnyContent, parts: Parts) -> None:
    """Compare every array with what it must be.

    Raises:
        CorruptFileError: on the first that differs, naming it.
    """
    for name, tensor in content.tensors().items():
        shape = tuple(tensor.shape)
        if shape != parts[name].shape:
            raise CorruptFileError(f"{name} has shape {shape}, expected {parts[name].shape}")
        found = sha256_of(tensor)
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


@dataclass(frozen=True)
class Pixels:
    """Images whose bytes stay where they are: rows that are asked for become float32 in [0, 1].

    Attributes:
        images: N×H×W, or N×H×W×3 in RGB, uint8.
        white: the byte that becomes 1.0.
    """

    images: Images
    white: int

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of what is read: (n, channels, height, width)."""
        n, height, width, *channels = self.images.shape
        return (n, *(channels or [1]), height, width)

    @property
    def dtype(self) -> torch.dtype:
        """See Images."""
        return torch.float32

    def __getitem__(self, rows: slice | Tensor, /) -> Tensor:
        """See Images."""
        tensor = self.images[rows]
        tensor = tensor[:, None] if tensor.ndim == 3 else tensor.permute(0, 3, 1, 2)
        return tensor.to(torch.float32, memory_format=torch.contiguous_format).div_(self.white)


def as_dataset(
    source: DatasetSource,
    content: AnyContent,
    sha256: str,
    ids: tuple[Tensor, Tensor] | None = None,
    white: int = 255,
) -> OpenDataset:
    """The dataset made of canonical content, with pixels in [0, 1]; none is read yet.

    Args:
        source: gives name, classes, mean and std.
        content: the four arrays.
        sha256: identifies that content.
        ids: stable ids of the training rows and of the test rows, no two alike; None for row numbers, the test rows'
            after the training rows'.
        white: the byte that becomes 1.0.
    """
    arrays = content.tensors()
    train_y, test_y = (arrays[name][:].to(torch.int64) for name in ("train_labels", "test_labels"))
    train_ids, test_ids = ids or (torch.arange(len(train_y)), torch.arange(len(train_y), len(train_y) + len(test_y)))
    return OpenDataset(
        name=name_of(type(source)),
        sha256=sha256,
        train=OpenSamples(Pixels(arrays["train_images"], white), train_y, train_ids),
        test=OpenSamples(Pixels(arrays["test_images"], white), test_y, test_ids),
        classes=source.classes,
        mean=source.mean,
        std=source.std,
    )
