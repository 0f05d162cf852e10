"""The cache: one safetensors file a dataset, replaced whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.numpy import save

from poisonbench.data.content import Content, Parts, StoredContent
from poisonbench.errors import CorruptFileError, DataError
from poisonbench.files.atomic import TEMPORARY_SUFFIX, write_atomically
from poisonbench.files.stored_tensor import stored_tensors


def path_of(cache_dir: Path, name: str) -> Path:
    """The path of a dataset's cache file."""
    return cache_dir / f"{name}.safetensors"


def stamp(path: Path) -> tuple[int, int, int] | None:
    """Inode, time and size, which change when the file is replaced; None if there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def open_file(path: Path, parts: Parts) -> StoredContent:
    """The arrays of a cache file, not yet checked against their SHA-256s; none is read.

    Raises:
        DataError: if there is no such file.
        OSError: if it cannot be read.
        CorruptFileError: if it is not a safetensors file of those arrays.
    """
    if not path.exists():
        raise DataError("not there")
    try:
        arrays = stored_tensors(path)
    except SafetensorError as error:
        raise CorruptFileError(f"not a whole safetensors file ({error})") from error
    if set(arrays) != set(parts) or any(array.dtype != torch.uint8 for array in arrays.values()):
        raise CorruptFileError(f"does not hold the arrays {', '.join(parts)} in uint8")
    return StoredContent({name: arrays[name] for name in parts})


def write(path: Path, content: Content) -> None:
    """Put the content in the cache; call it under `locked`. A kill at any moment leaves the old file or the new one.

    Raises:
        DataError: if it cannot be written, such as on a full disk.
    """
    # Whoever holds the lock is the only writer, so that any other temporary file was left by a killed process.
    for stale in path.parent.glob(f".{path.name}.*{TEMPORARY_SUFFIX}"):
        stale.unlink(missing_ok=True)
    # Serialised in memory: safetensors' own save_file reports a full disk as a SafetensorError without an errno.
    document = save(content.arrays())
    try:
        write_atomically(path, document)
    except OSError as error:
        raise DataError(
            f"{path.stem}: cannot keep its {len(document) / 1e6:.0f} MB in {path.parent}: {error}. Free some space "
            f"there, or set POISONBENCH_HOME to a folder with room."
        ) from error


@contextmanager
def locked(path: Path, report: Callable[[str], None]) -> Iterator[None]:
    """Hold a dataset's lock, so that of several processes one prepares it and the others wait.

    Raises:
        DataError: if the cache folder cannot be written.
    """
    lock = FileLock(path.with_suffix(".lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            report(f"{path.stem}: waiting for another process that is preparing it")
            lock.acquire()
    except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
        raise DataError(
            f"{path.stem}: cannot use the cache folder {path.parent}: {error}. Set POISONBENCH_HOME to a folder you "
            f"can write to."
        ) from error
    try:
        yield
    finally:
        lock.release()
