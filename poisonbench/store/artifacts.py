"""Tensors that are kept: safetensors files, named by the hash of their bytes. Nothing is ever unpickled.

torch is imported when tensors are read or written, not before: to list results needs none.
"""

from __future__ import annotations

import hashlib
import re
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, get_args

from safetensors import SafetensorError, deserialize, safe_open

from poisonbench.errors import CorruptFileError, StoreError
from poisonbench.files.atomic import replacing
from poisonbench.store.record_origin import Artifact, artifact_path

if TYPE_CHECKING:
    from torch import Tensor

    from poisonbench.files.stored_tensor import StoredTensor

Kind = Literal["poison", "predictions", "clean-predictions", "weights", "defense"]
KINDS: tuple[Kind, ...] = get_args(Kind)

MAX_ARTIFACT = 4 * 2**30
"""Bytes of a stranger's artifact."""

MAX_HEADER = 2**20
"""Bytes of a safetensors header: some thousand tensors."""

BLOCK = 2**20
"""Bytes of an artifact that are in memory while it is copied."""

_NO_SAFETENSORS = (
    SafetensorError,
    ValueError,
    KeyError,
    RuntimeError,
    TypeError,
    ArithmeticError,
    AssertionError,
)
"""What the library raises on a file that is not safetensors, or holds what torch does not."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


class Artifacts(ABC):
    """The artifacts of a store, wherever it keeps them."""

    def put(self, tensors: Mapping[str, Tensor], kind: Kind) -> Artifact:
        """Keep tensors. The same tensors give the same bytes, hence the same name, and are kept once.

        Raises:
            StoreError: if they cannot be written.
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
        if not self.is_whole(sha256):
            self._keep(sha256, BytesIO(data))
        return Artifact(kind=kind, path=artifact_path(sha256), sha256=sha256, bytes=len(data))

    def put_file(self, file: Path, artifact: Artifact) -> None:
        """Keep a copy of a stranger's file, which `find_beside` found, in memory for a block of it.

        Raises:
            CorruptFileError: if it changed since.
            StoreError: if it cannot be written.
        """
        if self.is_whole(artifact.sha256):
            return
        try:
            with file.open("rb") as source:
                self._keep(artifact.sha256, source)
        except OSError as error:
            raise StoreError(f"Cannot read {file}: {error.strerror or error}.") from error

    def get(self, sha256: str) -> dict[str, Tensor]:
        """The tensors of that hash, on the CPU.

        Raises:
            StoreError: if there is no such artifact.
            CorruptFileError: if its bytes are not those that the hash names, or are not safetensors.
        """
        return from_bytes(self.get_bytes(sha256), self.where(sha256))

    def get_bytes(self, sha256: str) -> bytes:
        """The file of that hash, verified before anyone parses it.

        Raises:
            StoreError: if there is no such artifact.
            CorruptFileError: if its bytes are not those that the hash names.
        """
        data = self._load(_checked(sha256))
        if data is None:
            raise StoreError(
                f"The artifact {self.where(sha256)} is missing. Run the cell again, or merge it from an export."
            )
        if hashlib.sha256(data).hexdigest() != sha256:
            raise CorruptFileError(
                f"{self.where(sha256)} is damaged: its bytes do not have the hash it is named by. "
                f"Run its cell again with --force."
            )
        return data

    def has(self, sha256: str) -> bool:
        """Whether there is an artifact of that name; its content is checked when it is read."""
        return bool(self.present([sha256]))

    @abstractmethod
    def present(self, names: Iterable[str]) -> set[str]:
        """Those of the hashes that there is an artifact of."""

    @abstractmethod
    def names(self) -> list[str]:
        """The hash of every artifact, in order."""

    @abstractmethod
    def where(self, sha256: str) -> str:
        """Where an artifact is, for messages."""

    @abstractmethod
    def _load(self, sha256: str) -> bytes | None:
        """The bytes of an artifact, as they are; None if there is none."""

    @abstractmethod
    def is_whole(self, sha256: str) -> bool:
        """Whether there is an artifact of that hash, and it is not damaged; a damaged one is written again, which is
        how a recomputed stage heals the store. Reads it, in memory for a block of it."""

    @abstractmethod
    def _keep(self, sha256: str, source: BinaryIO) -> None:
        """Write an artifact from the start of a file, whole or not at all, in the place of what is there.

        Raises:
            CorruptFileError: if the bytes are not those that the hash names.
            StoreError: if it cannot be written.
        """


class ArtifactFolder(Artifacts):
    """Artifacts as files below a home folder."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def present(self, names: Iterable[str]) -> set[str]:
        """See Artifacts."""
        return {sha256 for sha256 in names if self._path(sha256).is_file()}

    def names(self) -> list[str]:
        """See Artifacts."""
        return sorted(path.stem for path in (self._home / "artifacts").glob("*/*.safetensors"))

    def where(self, sha256: str) -> str:
        """See Artifacts."""
        return str(self._path(sha256))

    def _load(self, sha256: str) -> bytes | None:
        path = self._path(sha256)
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"Cannot read {path}: {error.strerror or error}.") from error

    def is_whole(self, sha256: str) -> bool:
        """See Artifacts."""
        try:
            return self.has(sha256) and hash_of(self._path(sha256)) == sha256
        except OSError:
            return False

    def _keep(self, sha256: str, source: BinaryIO) -> None:
        path = self._path(sha256)
        try:
            with replacing(path) as target:
                for block in verified_blocks(source, sha256):
                    target.write(block)
        except OSError as error:
            raise StoreError(
                f"Cannot write {path}: {error.strerror or error}. Free some space or choose another --store."
            ) from error

    def _path(self, sha256: str) -> Path:
        return self._home / artifact_path(_checked(sha256))


def verified_blocks(source: BinaryIO, sha256: str) -> Iterator[bytes]:
    """A file from its start, in blocks of 1 MiB.

    Raises (at its end):
        CorruptFileError: if its bytes are not those that the hash names.
    """
    digest = hashlib.sha256()
    source.seek(0)
    while block := source.read(BLOCK):
        digest.update(block)
        yield block
    if digest.hexdigest() != sha256:
        raise CorruptFileError(f"{getattr(source, 'name', sha256)} changed while it was read")


def _checked(sha256: str) -> str:
    """The hash may come from a file that somebody sent: it must not be able to name a path."""
    if not _SHA256.fullmatch(sha256):
        raise StoreError(f"{sha256[:80]!r} is not a SHA-256 in hex.")
    return sha256


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
    except _NO_SAFETENSORS as error:
        raise CorruptFileError(f"{name} is not a safetensors file: {_line(error)}.") from error


def open_file(path: Path, name: str) -> dict[str, StoredTensor]:
    """The tensors of a safetensors file, of which rows are read when they are asked for; errors as in `from_bytes`."""
    from poisonbench.files.stored_tensor import stored_tensors

    with path.open("rb") as file:
        _check_header(file.read(8), name)
    try:
        return stored_tensors(path)
    except _NO_SAFETENSORS as error:
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
