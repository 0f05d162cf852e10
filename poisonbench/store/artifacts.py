"""Tensors on disk: safetensors files that are named by the hash of their bytes. Nothing is ever unpickled.

torch is imported when tensors are read or written, not before: to list results needs none.
"""

from __future__ import annotations

import hashlib
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from safetensors import SafetensorError, deserialize

from poisonbench.errors import CorruptFileError, StoreError
from poisonbench.store.atomic import TEMPORARY_SUFFIX, write_atomically
from poisonbench.store.record import Artifact, artifact_path

if TYPE_CHECKING:
    from torch import Tensor

Kind = Literal["poison", "predictions", "clean-predictions", "weights", "defense"]
KINDS: tuple[Kind, ...] = get_args(Kind)
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
        path = self._path(sha256)
        try:
            # One that is there but damaged is written again: that is how a recomputed stage heals the store.
            if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
                write_atomically(path, data)
        except OSError as error:
            raise StoreError(
                f"Cannot write {path}: {error.strerror or error}. Free some space or choose another --store."
            ) from error
        return Artifact(kind=kind, path=artifact_path(sha256), sha256=sha256, bytes=len(data))

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

    def has(self, sha256: str) -> bool:
        """Whether there is a file of that name; its content is checked when it is read."""
        return self._path(sha256).is_file()

    def files(self) -> list[Path]:
        """Every artifact, in the order of names."""
        return sorted((self._home / "artifacts").glob("*/*.safetensors"))

    def leftovers(self) -> list[Path]:
        """Temporary files that killed processes left behind (or that others are writing right now)."""
        return sorted((self._home / "artifacts").glob(f"*/.*{TEMPORARY_SUFFIX}"))

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

    try:
        return dict(load(data))
    except (SafetensorError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise CorruptFileError(f"{name} is not a safetensors file: {_line(error)}.") from error


def read_beside(folder: Path, artifact: Artifact) -> bytes | None:
    """An exported record's artifact, verified, or None if it was exported without.

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
    if path.stat().st_size != artifact.bytes:
        raise CorruptFileError(f"{artifact.path} has {path.stat().st_size} bytes, the record says {artifact.bytes}")
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != artifact.sha256:
        raise CorruptFileError(f"{artifact.path} does not have the hash that the record says")
    _check_format(data, artifact.sha256)
    return data


def _below(folder: Path, path: Path) -> Iterator[Path]:
    for part in path.relative_to(folder).parts:
        folder = folder / part
        yield folder


def _check_format(data: bytes, name: str) -> None:
    try:
        deserialize(data)  # type: ignore[no-untyped-call]
    except (SafetensorError, ValueError) as error:
        raise CorruptFileError(f"{name} is not a safetensors file: {_line(error)}") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
