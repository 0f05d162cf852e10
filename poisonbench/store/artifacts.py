"""Tensors on disk: safetensors files that are named by the hash of their bytes. Nothing is ever unpickled.

torch is imported when tensors are read or written, not before: to list results needs none.
"""

from __future__ import annotations

import hashlib
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from safetensors import SafetensorError, deserialize, safe_open

from poisonbench.errors import CorruptFileError, StoreError
from poisonbench.files.atomic import replacing, write_atomically
from poisonbench.store.record import Artifact, artifact_path

if TYPE_CHECKING:
    from torch import Tensor

Kind = Literal["poison", "predictions", "clean-predictions", "weights", "defense"]
KINDS: tuple[Kind, ...] = get_args(Kind)

MAX_ARTIFACT = 4 * 2**30
"""Bytes of a stranger's artifact."""

MAX_HEADER = 2**20
"""Bytes of a safetensors header: some thousand tensors."""

_BLOCK = 2**20
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Artifacts:
    """The artifacts below a home folder."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def put(self, tensors: Mapping[str, Tensor], kind: Kind) -> Artifact:
        """Keep tensors. The same tensors give the same bytes, hence the same name, and are kept once.

        Raises:
            StoreError: if the file cannot be written.
        """
        return self.put_bytes(to_bytes(tensors), kind)

    def put_bytes(self, data: bytes, kind: Kind) -> Artifact:
        """Keep a safetensors file as it is.

        Raises:
            CorruptFileError: if it is not one.
            StoreError: if it cannot be written.
        """
        sha256 = hashlib.sha256(data).hexdigest()
        _check_format(data, sha256)
        with self._written(sha256) as path:
            if not self._is_whole(sha256):
                write_atomically(path, data)
        return Artifact(kind=kind, path=artifact_path(sha256), sha256=sha256, bytes=len(data))

    def put_file(self, file: Path, artifact: Artifact) -> None:
        """Keep a copy of a stranger's file, which `find_beside` found, in memory for a block of it.

        Raises:
            CorruptFileError: if it changed since.
            StoreError: if it cannot be written.
        """
        with self._written(artifact.sha256) as path, file.open("rb") as source:
            if self._is_whole(artifact.sha256):
                return
            digest = hashlib.sha256()
            with replacing(path) as target:
                while block := source.read(_BLOCK):
                    digest.update(block)
                    target.write(block)
                if digest.hexdigest() != artifact.sha256:
                    raise CorruptFileError(f"{file} changed while it was read")

    def get(self, sha256: str) -> dict[str, Tensor]:
        """The tensors of that hash, on the CPU.

        Raises:
            StoreError: if there is no such artifact.
            CorruptFileError: if its bytes are not those that the hash names, or are not safetensors.
        """
        return from_bytes(self.get_bytes(sha256), str(self._path(sha256)))

    def get_bytes(self, sha256: str) -> bytes:
        """The file of that hash, verified before anyone parses it.

        Raises:
            StoreError: if there is no such artifact.
            CorruptFileError: if its bytes are not those that the hash names.
        """
        path = self._path(sha256)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise StoreError(
                f"The artifact {path} is missing. Run the cell again, or merge it from an export."
            ) from None
        except OSError as error:
            raise StoreError(f"Cannot read {path}: {error.strerror or error}.") from error
        if hashlib.sha256(data).hexdigest() != sha256:
            raise CorruptFileError(f"{path} is damaged: its bytes do not have the hash it is named by. Delete it.")
        return data

    @contextmanager
    def _written(self, sha256: str) -> Iterator[Path]:
        path = self._path(sha256)
        try:
            yield path
        except OSError as error:
            raise StoreError(
                f"Cannot write {path}: {error.strerror or error}. Free some space or choose another --store."
            ) from error

    def _is_whole(self, sha256: str) -> bool:
        """One that is there but damaged is written again: that is how a recomputed stage heals the store."""
        return self.has(sha256) and hash_of(self._path(sha256)) == sha256

    def has(self, sha256: str) -> bool:
        """Whether there is a file of that name; its content is checked when it is read."""
        return self._path(sha256).is_file()

    def files(self) -> list[Path]:
        """Every artifact, in the order of names."""
        return sorted((self._home / "artifacts").glob("*/*.safetensors"))

    def _path(self, sha256: str) -> Path:
        # The hash may come from a file that somebody sent: it must not be able to name a path.
        if not _SHA256.fullmatch(sha256):
            raise StoreError(f"{sha256[:80]!r} is not a SHA-256 in hex.")
        return self._home / artifact_path(sha256)


def to_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Tensors as a safetensors file; the same tensors give the same bytes."""
    from safetensors.torch import save

    # The header lists tensors by dtype and name, so dict order does not matter; metadata would come in random
    # order, so there is none. A clone each: safetensors refuses tensors that share memory.
    return bytes(save({key: tensors[key].detach().cpu().contiguous().clone() for key in sorted(tensors)}))


def from_bytes(data: bytes, name: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file, on the CPU.

    Args:
        data: the file.
        name: what to call it in a message.
    Raises:
        CorruptFileError: if it is none.
    """
    from safetensors.torch import load

    _check_header(data[:8], name)
    try:
        return dict(load(data))
    except (SafetensorError, ValueError, KeyError, RuntimeError, TypeError, ArithmeticError, AssertionError) as error:
        raise CorruptFileError(f"{name} is not a safetensors file: {_line(error)}.") from error


def hash_of(path: Path) -> str:
    """The SHA-256 of a file, in memory for a block of it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_beside(folder: Path, artifact: Artifact) -> Path | None:
    """The file of an exported record's artifact, verified, or None if it was exported without.

    Raises:
        CorruptFileError: if it, or a folder on the way, is a symbolic link, or if it is not what the record says.
    """
    path = folder / artifact.path
    for step in _below(folder, path):
        try:
            mode = step.lstat().st_mode
        except FileNotFoundError:
            return None
        expected = stat.S_ISREG if step == path else stat.S_ISDIR
        if not expected(mode):
            raise CorruptFileError(f"{step} is a link or a special file; only plain files and folders are read")
    size = path.stat().st_size
    if size != artifact.bytes:
        raise CorruptFileError(f"{artifact.path} has {size} bytes, the record says {artifact.bytes}")
    if size > MAX_ARTIFACT:
        raise CorruptFileError(f"{artifact.path} has {size} bytes; at most {MAX_ARTIFACT} are read")
    if hash_of(path) != artifact.sha256:
        raise CorruptFileError(f"{artifact.path} does not have the hash that the record says")
    _check_file(path, artifact.path)
    return path


def _below(folder: Path, path: Path) -> Iterator[Path]:
    for part in path.relative_to(folder).parts:
        folder = folder / part
        yield folder


def _check_file(path: Path, name: str) -> None:
    """See that a file is one of safetensors; reads nothing but its header."""
    with path.open("rb") as file:
        _check_header(file.read(8), name)
    try:
        with safe_open(path, framework="numpy"):
            return
    except (SafetensorError, ValueError) as error:
        raise CorruptFileError(f"{name} is not a safetensors file: {_line(error)}") from error


def _check_header(start: bytes, name: str) -> None:
    size = int.from_bytes(start, "little")
    if size > MAX_HEADER:
        raise CorruptFileError(f"{name} is not a safetensors file: its header has {size} bytes, at most {MAX_HEADER}.")


def _check_format(data: bytes, name: str) -> None:
    _check_header(data[:8], name)
    try:
        deserialize(data)  # type: ignore[no-untyped-call]
    except (SafetensorError, ValueError) as error:
        raise CorruptFileError(f"{name} is not a safetensors file: {_line(error)}") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
