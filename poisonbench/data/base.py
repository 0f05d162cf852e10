"""What a dataset is to the rest of the project, the options it is loaded with, and how one is had by its name."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import platformdirs

from poisonbench.plugins.registry import load
from poisonbench.problem.samples import Dataset


def default_cache_dir() -> Path:
    """`$POISONBENCH_HOME/data` if that variable is set, else the user's cache folder."""
    home = os.environ.get("POISONBENCH_HOME")
    return (Path(home) if home else platformdirs.user_cache_path("poisonbench")) / "data"


def silent(line: str) -> None:
    """A report that goes nowhere."""


@dataclass(frozen=True)
class DataOptions:
    """Where a dataset may be taken from.

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

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where datasets lie on this machine."""
        return (self.cache_dir,) if self.data_dir is None else (self.cache_dir, self.data_dir)


@dataclass(frozen=True)
class Verified:
    """One file of a dataset whose content was just checked.

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
    """One dataset under one name; register it with `@register("name")`.

    Attributes:
        classes: number of classes C.
        mean: per-channel mean that a model's first layer subtracts.
        std: per-channel scale that a model's first layer divides by.
    """

    classes: ClassVar[int]
    mean: ClassVar[tuple[float, ...]]
    std: ClassVar[tuple[float, ...]]

    @abstractmethod
    def load(self, options: DataOptions) -> Dataset:
        """The whole dataset, its content checked; whatever had to be fetched is kept for the next time.

        Raises:
            DataError: if no source has it, or there is no room to keep it.
            CorruptFileError: if no source has it and one of them holds something else under its name.
        """

    @abstractmethod
    def verify(self, options: DataOptions) -> list[Verified]:
        """Check what is on this machine already, fetching nothing.

        Raises:
            DataError: if nothing is.
            CorruptFileError: if it is not what its SHA-256 says.
        """


def prepare(name: str, options: DataOptions) -> Dataset:
    """Load a dataset by name from the first source that has it, and keep it in the cache.

    Raises:
        UnknownNameError: if no dataset has that name.
        DataError: if no source worked, or there is no room to keep it.
        CorruptFileError: the same, if a source held something else under its name.
    """
    return _source(name).load(options)


def verify(name: str, options: DataOptions) -> list[Verified]:
    """Check what this machine already has of a dataset, fetching nothing: one row a file.

    Raises:
        UnknownNameError: if no dataset has that name.
        DataError: if nothing is cached.
        CorruptFileError: if a file is not what its SHA-256 says.
    """
    return _source(name).verify(options)


def _source(name: str) -> DatasetSource:
    source: DatasetSource = load("dataset", name)()
    return source
