"""What a dataset is to the rest of the project, the options it is loaded with, and how one is had by its name."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import platformdirs

from poisonbench.errors import PluginError
from poisonbench.plugins.registry import entries, load
from poisonbench.problem.open_samples import OpenDataset, OpenSamples
from poisonbench.problem.samples import Dataset


def default_cache_dir() -> Path:
    """`$POISONBENCH_HOME/data` if that variable is set, else the user's cache folder."""
    home = os.environ.get("POISONBENCH_HOME")
    return (Path(home) if home else platformdirs.user_cache_path("poisonbench")) / "data"


def silent(line: str) -> None:
    """A report that goes nowhere."""


@dataclass(frozen=True)
class DataOptions:
    """The places that a dataset may be taken from.

    Attributes:
        cache_dir: where datasets are kept once prepared.
        data_dir: a folder with files the user brought (`--data-dir`), or None.
        offline: never open a connection.
        report: receives one line for every source that is tried.
    """

    cache_dir: Path = field(default_factory=default_cache_dir)
    data_dir: Path | None = None
    offline: bool = False
    report: Callable[[str], None] = silent


@dataclass(frozen=True)
class DataFiles:
    """Where datasets lie on this machine: what no method may open.

    Attributes:
        folders: folders of data.
        names: how the names of datasets' files begin, wherever they lie.
    """

    folders: tuple[Path, ...] = ()
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verified:
    """A file of a dataset whose content was just checked.

    Attributes:
        dataset: whose content it is.
        path: the file.
        bytes: its size.
        sha256: of the canonical content, as in `Dataset.sha256`.
    """

    dataset: str
    path: Path
    bytes: int
    sha256: str


class DatasetSource(ABC):
    """A dataset under one name; register it with `@register("name")`.

    Attributes:
        version: raised whenever the numbers can change: records of two versions are never compared.
        classes: number of classes C.
        mean: per-channel mean that a model's first layer subtracts.
        std: per-channel scale that a model's first layer divides by.
        file_names: how the names of the files it comes in begin, wherever they lie; no method may open such a file.
    """

    version: ClassVar[int] = 1
    classes: ClassVar[int]
    mean: ClassVar[tuple[float, ...]]
    std: ClassVar[tuple[float, ...]]
    file_names: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def folders(cls) -> tuple[Path, ...]:
        """Folders that it is read from besides the cache and `--data-dir`; no method may read them."""
        return ()

    @abstractmethod
    def load(self, options: DataOptions) -> Dataset:
        """Load the whole dataset and check its content; whatever had to be fetched is kept for the next time.

        Raises:
            DataError: if no source has it, or there is no room to keep it.
            CorruptFileError: if no source has it and one of them holds something else under its name.
        """

    def open(self, options: DataOptions) -> OpenDataset:
        """The same, of which images are read when they are asked for; here they are in memory from the start.

        Raises:
            DataError, CorruptFileError: as `load`.
        """
        whole = self.load(options)
        train, test = (OpenSamples(part.x, part.y, part.ids) for part in (whole.train, whole.test))
        return OpenDataset(whole.name, whole.sha256, train, test, whole.classes, whole.mean, whole.std)

    @abstractmethod
    def verify(self, options: DataOptions) -> list[Verified]:
        """Check what is on this machine already, fetching nothing.

        Raises:
            DataError: if nothing is.
            CorruptFileError: if it is not what its SHA-256 says.
        """


class ByteSource(DatasetSource):
    """A dataset that is kept in bytes, so that it can be opened without reading all of it."""

    def load(self, options: DataOptions) -> Dataset:
        """See DatasetSource."""
        return self.open(options).load()

    @abstractmethod
    def open(self, options: DataOptions) -> OpenDataset:
        """See DatasetSource."""


def prepare(name: str, options: DataOptions) -> Dataset:
    """Load a dataset by name from the first source that has it, and keep it in the cache.

    Raises:
        UnknownNameError: if no dataset has that name.
        DataError: if no source worked, or there is no room to keep it.
        CorruptFileError: the same, if a source held something else under its name.
    """
    return _source(name).load(options)


def open_dataset(name: str, options: DataOptions) -> OpenDataset:
    """The same, with images that are read, out of the cache, when they are asked for.

    Raises:
        UnknownNameError, DataError, CorruptFileError: as `prepare`.
    """
    return _source(name).open(options)


def verify(name: str, options: DataOptions) -> list[Verified]:
    """Check what this machine already has of a dataset, fetching nothing: one row a file.

    Raises:
        UnknownNameError: if no dataset has that name.
        DataError: if nothing is cached.
        CorruptFileError: if a file is not what its SHA-256 says.
    """
    return _source(name).verify(options)


def data_files(options: DataOptions, *, apart_from: str | None = None, plugins: bool = True) -> DataFiles:
    """The files of every dataset; a dataset that does not import has none.

    Args:
        options: cache and folder of the user's.
        apart_from: a distribution whose datasets are left out, since to ask them imports their modules; None for none.
        plugins: whether those of plugins count: to ask them runs their code, beside which no built-in cell is played.
    Cost: imports the datasets' modules, once a process.
    """
    folders = [options.cache_dir] if options.data_dir is None else [options.cache_dir, options.data_dir]
    names: list[str] = []
    for entry in entries("dataset").values():
        if entry.distribution == apart_from or not (plugins or entry.built_in):
            continue
        with suppress(PluginError):
            source: type[DatasetSource] = load("dataset", entry.name)
            folders.extend(source.folders())
            names.extend(source.file_names)
    return DataFiles(tuple(dict.fromkeys(folders)), tuple(dict.fromkeys(names)))


def _source(name: str) -> DatasetSource:
    source: DatasetSource = load("dataset", name)()
    return source
