"""`poisonbench data prepare` and `data verify`: have a dataset on this machine, and know that it is whole."""

from __future__ import annotations

from poisonbench.data.base import DataOptions, DatasetSource, Verified
from poisonbench.plugins.registry import load
from poisonbench.problem.samples import Dataset


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
