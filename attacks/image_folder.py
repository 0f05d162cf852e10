"""A poison set as a folder of images and one CSV that says what each is: somebody's, so nothing of it is believed."""

from __future__ import annotations

import csv
import hashlib
import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from poisonbench.errors import ConfigError, ValidationError
from poisonbench.guard.method_errors import first_line

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
"""What is decoded, by Pillow's names: pictures of 8 bits a channel. EPS starts a program, TIFF is a container of any
codec, and of 16 bits in a PPM Pillow keeps 8 without a word."""

MOST_ROWS = 250_000
"""Rows that a CSV may have."""

LARGEST = 4 * 2**30
"""Bytes that all images may have, decoded."""

_LARGEST_CSV = 64 * 2**20
_LARGEST_FILE = 64 * 2**20
_MOST_PIXELS = 2**24
_COLUMNS = ("file", "label", "source")
_MOST_DIGITS = 18
_PNG_DEPTH = 24
"""The byte of a PNG that has its bits a channel; Pillow tells them for grey images alone."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Row:
    """A line of the CSV.

    Attributes:
        file: the image's name, as written.
        path: where that leads, inside the folder.
        label: its class.
        source: the row of D_tr that it was made from, or −1.
    """

    file: str
    path: Path
    label: int
    source: int


@dataclass(frozen=True)
class ImageFolder:
    """Images in the order of the folder's CSV, whose columns are `file`, `label` and perhaps `source`.

    Attributes:
        folder: where it is.
        rows: of the CSV, checked: every file is there, is a plain file and lies in the folder.
    """

    folder: Path
    rows: tuple[Row, ...]

    @classmethod
    def open(cls, folder: Path) -> ImageFolder:
        """Read the CSV and look whether the files are there; no image is opened.

        Raises:
            ConfigError: for a folder without exactly one CSV, or a line of it that is wrong.
        """
        try:
            found = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".csv")
            if len(found) != 1:
                there = ", ".join(path.name for path in found[:3]) or "none"
                raise _refused(
                    folder, f"expected one .csv beside the images, with file,label[,source]; there is {there}"
                )
            table = _inside(folder, found[0].name, found[0].name)
            if table.stat().st_size > _LARGEST_CSV:
                raise _refused(folder, f"{table.name} is larger than {_LARGEST_CSV >> 20} MiB")
            text = table.read_bytes().decode("utf-8-sig")
            rows = tuple(_rows(folder, found[0].name, text))
        except OSError as error:
            raise _refused(folder, f"cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise _refused(folder, f"{found[0].name} is not UTF-8") from None
        except csv.Error as error:
            raise _refused(folder, f"{found[0].name} is no CSV: {error}") from None
        if not rows:
            raise _refused(folder, f"{found[0].name} names no image")
        return cls(folder, rows)

    def sha256(self) -> str:
        """The SHA-256 of the content: of the files' bytes, labels and sources in the CSV's order, whatever the files
        are called.

        Raises:
            ConfigError: for a file that cannot be read.
        """
        return _digest((hashlib.sha256(_bytes(self.folder, row)).hexdigest(), row) for row in self.rows)

    def read(self) -> tuple[str, dict[str, Tensor]]:
        """The content's SHA-256, and of those very bytes x, (n, 1 or 3, height, width) in uint8, y and source, (n,).

        x is grey if all images are, else RGB. Palettes become colours, and an alpha channel that hides nothing is left
        out; what would lose something (16 bits, transparency, CMYK, a second frame) is refused.

        Raises:
            ConfigError: for what is no whole image, is refused, or has another size than the first.
        """
        digests, images, total = list[str](), list[Pixels](), 0
        for row in self.rows:
            data = _bytes(self.folder, row)
            image = _decoded(self.folder, row, data)
            if images and image.shape[:2] != images[0].shape[:2]:
                raise _refused(
                    self.folder,
                    f"{row.file} is {_size(image)}, {self.rows[0].file} {_size(images[0])}: one size for all",
                )
            total += image.nbytes
            if total > LARGEST:
                raise _refused(self.folder, f"the images have more than {LARGEST >> 30} GiB when decoded")
            digests.append(hashlib.sha256(data).hexdigest())
            images.append(image)
        y, source = (torch.tensor([getattr(row, name) for row in self.rows]) for name in ("label", "source"))
        x = torch.from_numpy(_stacked(images))
        return _digest(zip(digests, self.rows, strict=True)), {"x": x, "y": y, "source": source}

    def fitted(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The images with the dataset's number of channels, where that loses nothing: grey images become three equal
        channels, and images in RGB one if their channels are equal.

        Args:
            x: images, (n, 1 or 3, height, width).
            shape: the dataset's channels, height, width.
        Raises:
            ValidationError: for images that do not fit the dataset.
        """
        channels, height, width = shape
        if tuple(x.shape[2:]) != (height, width):
            here = f"{x.shape[3]} × {x.shape[2]}"
            raise ValidationError(f"{self.folder}: images are {here} pixels, the dataset's {width} × {height}.")
        if x.shape[1] == 1 and channels == 3:
            return x.expand(-1, 3, -1, -1)
        if x.shape[1] == 3 and channels == 1:
            coloured = (x != x[:, :1]).flatten(1).any(1)
            if coloured.any():
                row = self.rows[int(coloured.nonzero()[0])]
                raise ValidationError(f"{self.folder}: {row.file} has colours, the dataset's images are grey.")
            return x[:, :1]
        return x


def _rows(folder: Path, name: str, text: str) -> Iterator[Row]:
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    header = tuple(cell.strip() for cell in next(lines, []))
    if sorted(header) not in (sorted(_COLUMNS[:2]), sorted(_COLUMNS)):
        raise _refused(
            folder, f"{name}: the first line is {','.join(header)[:80]!r}, expected file,label or file,label,source"
        )
    known = dict[str, Path]()
    for count, cells in enumerate(filter(None, lines), 1):
        if count > MOST_ROWS:
            raise _refused(folder, f"{name} has more than {MOST_ROWS:,} rows, at most so many are read")
        where = f"{name}, line {lines.line_num}"
        if len(cells) != len(header):
            raise _refused(folder, f"{where}: {len(cells)} values, expected {len(header)}")
        values = dict(zip(header, cells, strict=True))
        file = values["file"]
        if file not in known:
            known[file] = _inside(folder, file, where)
        label = _integer(folder, where, "label", values["label"], 0)
        yield Row(file, known[file], label, _integer(folder, where, "source", values.get("source", "-1"), -1))


def _integer(folder: Path, where: str, column: str, text: str, least: int) -> int:
    text = text.strip()
    if text.removeprefix("-").isdecimal() and len(text) <= _MOST_DIGITS and int(text) >= least:
        return int(text)
    raise _refused(folder, f"{where}: {column}: expected an integer ≥ {least}, got {text[:40]!r}")


def _inside(folder: Path, file: str, where: str) -> Path:
    """Where a name leads: to a plain file in the folder, and nowhere else."""
    name = Path(file)
    if not file or "\0" in file or name.is_absolute() or ".." in name.parts:
        raise _refused(folder, f"{where}: {file[:80]!r} is no name of a file in the folder")
    try:
        path, home = (folder / name).resolve(strict=True), folder.resolve(strict=True)
    except (OSError, RuntimeError) as error:  # in Python 3.11 a circle of links is a RuntimeError
        reason = getattr(error, "strerror", None) or "a circle of links"
        raise _refused(folder, f"{where}: {file[:80]!r}: {reason}") from None
    if not path.is_relative_to(home):
        raise _refused(folder, f"{where}: {file[:80]!r} leads out of the folder")
    if not path.is_file():
        raise _refused(folder, f"{where}: {file[:80]!r} is no plain file")
    return path


def _bytes(folder: Path, row: Row) -> bytes:
    try:
        with row.path.open("rb") as file:
            data = file.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise _refused(folder, f"{row.file} cannot be read: {error.strerror}") from None
    if len(data) > _LARGEST_FILE:
        raise _refused(folder, f"{row.file} is larger than {_LARGEST_FILE >> 20} MiB")
    return data


def _decoded(folder: Path, row: Row, data: bytes) -> Pixels:
    """The image, (height, width) if it is grey, else (height, width, 3)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                if image.width * image.height > _MOST_PIXELS:
                    raise ValueError(f"{image.width} × {image.height} pixels, at most {_MOST_PIXELS:,} are decoded")
                if (frames := getattr(image, "n_frames", 1)) != 1:
                    raise ValueError(f"{frames} frames, expected one image")
                if image.format == "PNG" and data[_PNG_DEPTH] > 8:
                    raise ValueError("16 bits a channel, of which 8 would be lost")
                image.load()
                return _plain(image)
    except Exception as error:  # whatever a decoder raises of a file that lies
        reason = "no PNG, JPEG, WebP or BMP" if isinstance(error, UnidentifiedImageError) else first_line(error)
        raise _refused(folder, f"{row.file}: no whole image: {reason}") from None


def _plain(image: Image.Image) -> Pixels:
    """The pixels in bytes, grey or RGB, if they lose nothing by it.

    Raises:
        ValueError: if they do.
    """
    if image.mode == "P" or "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode in ("LA", "RGBA"):
        if image.getchannel("A").getextrema() != (255, 255):
            raise ValueError("it is transparent in places, which no image of a dataset is")
        image = image.convert(image.mode.removesuffix("A"))
    if image.mode == "1":
        image = image.convert("L")
    if image.mode not in ("L", "RGB"):
        raise ValueError(
            f"mode {image.mode}; expected 8 bits a channel, grey or RGB, which it cannot become without loss"
        )
    return np.array(image, np.uint8)


def _stacked(images: list[Pixels]) -> Pixels:
    """All of them, (n, 1 or 3, height, width)."""
    height, width = images[0].shape[:2]
    grey = all(image.ndim == 2 for image in images)
    found = np.empty((len(images), 1 if grey else 3, height, width), np.uint8)
    for place, image in zip(found, images, strict=True):
        place[:] = image if image.ndim == 2 else image.transpose(2, 0, 1)
    return found


def _digest(rows: Iterator[tuple[str, Row]]) -> str:
    found = hashlib.sha256()
    for digest, row in rows:
        found.update(f"{digest},{row.label},{row.source}\n".encode())
    return found.hexdigest()


def _size(image: Pixels) -> str:
    return f"{image.shape[1]} × {image.shape[0]}"


def _refused(folder: Path, why: str) -> ConfigError:
    return ConfigError(f"attack.file: {folder}: {why}.")
