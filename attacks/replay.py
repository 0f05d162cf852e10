"""A poison set that is there already: another program's, another paper's, or that of a record of one's own."""

from __future__ import annotations

import hashlib
import io
import tokenize
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from poisonbench.attacks.base import Attack
from poisonbench.attacks.image_folder import LARGEST, ImageFolder
from poisonbench.errors import ConfigError
from poisonbench.guard.method_errors import first_line
from poisonbench.plugins.registry import register
from poisonbench.problem.budget import Budget
from poisonbench.problem.samples import PoisonSet
from poisonbench.problem.threat import Mode, ThreatModel
from poisonbench.problem.views import AttackerView
from poisonbench.stages.stage import Stage


@register("replay")
@dataclass(frozen=True)
class Replay(Attack):
    """The poison set of a file, whoever made it.

    The file has `x`, images (n, channels, height, width) with pixels in [0, 1], or uint8; `y`, labels (n,); and perhaps
    `source`, the row of D_tr that each was made from; both whole numbers of any type. A folder has images and
    one CSV, `file,label[,source]`, in whose order they are; grey and RGB become what the dataset has where nothing is
    lost.

    It is held to the budget like any other, and recorded with the content's SHA-256: another content is another
    attack, and the same content from another place the same one. What went into the file nobody can tell, so it counts
    as knowing everything. A poison set is made for one split: run it with the seed that it was made for.

    Fields:
        file: a .safetensors file, such as a record's poison artifact, an .npz of numpy without pickled objects, or a
            folder of images with a CSV.
        sha256: of its content; filled in, or checked if it is given.
        mode: addition adds the points; perturbation puts them in the place of their sources, which are then needed.
    """

    version: ClassVar[int] = 1
    paper = None
    cost = "reading the file"
    places = frozenset({"file"})

    file: str = ""
    sha256: str = ""
    mode: Mode = Mode.ADDITION

    def __post_init__(self) -> None:
        if self.file:
            folder = self._folder()
            found = hashlib.sha256(self._bytes()).hexdigest() if folder is None else folder.sha256()
            if self.sha256 not in ("", found):
                raise ConfigError(
                    f"attack.file: {self.file} has the SHA-256 {found}, attack.sha256 says {self.sha256}."
                )
            object.__setattr__(self, "sha256", found)

    @property
    def threat(self) -> ThreatModel:
        """The declared threat: nothing is promised."""
        return ThreatModel(mode=self.mode)

    def ready(self) -> None:
        """See Attack."""
        self._read()

    def craft(self, view: AttackerView, budget: Budget, stage: Stage) -> PoisonSet:
        """See Attack."""
        parts = self._read(tuple(view.train.x.shape[1:]))
        x, y = parts["x"], parts["y"]
        pixels = x.to(torch.float32) / 255 if x.dtype == torch.uint8 else x.to(torch.float32)
        source = parts["source"] if "source" in parts else torch.full_like(y, -1, dtype=torch.int64)
        there = stage.device
        return PoisonSet(pixels.to(there), y.to(there), source.to(there))

    def _folder(self) -> ImageFolder | None:
        """The folder, if it is one."""
        return ImageFolder.open(Path(self.file)) if Path(self.file).is_dir() else None

    def _bytes(self) -> bytes:
        try:
            return Path(self.file).read_bytes()
        except OSError as error:
            raise ConfigError(f"attack.file: {self.file} cannot be read: {error.strerror}.") from None

    def _read(self, shape: tuple[int, ...] | None = None) -> dict[str, Tensor]:
        """The file's tensors by name.

        Args:
            shape: that of the dataset's images, which those of a folder are to have; None before it is known.
        Raises:
            ConfigError: if there is none, it is not what `sha256` says, is of no known kind, lacks x or y, or has
                labels or sources that are no whole numbers.
            ValidationError: if a folder's images cannot have that shape.
        """
        if not self.file:
            raise ConfigError(
                "replay needs a poison set: --poison FILE, .safetensors or .npz with x and y, or a folder of images."
            )
        if (folder := self._folder()) is not None:
            found, parts = folder.read()
            self._refuse_another(found)
            return parts if shape is None else {**parts, "x": folder.fitted(parts["x"], shape)}
        data = self._bytes()
        self._refuse_another(hashlib.sha256(data).hexdigest())
        suffix = Path(self.file).suffix.lower()
        try:
            parts = _npz(data) if suffix == ".npz" or data.startswith(b"PK") else load(data)
        except _NO_FILE as error:
            expected = _KINDS.get(suffix, "neither .safetensors nor .npz without objects")
            raise ConfigError(f"attack.file: {self.file}: {expected}: {first_line(error).rstrip('.')}.") from None
        lacking = [name for name in ("x", "y") if name not in parts]
        if lacking:
            raise ConfigError(f"attack.file: {self.file} has no {' and no '.join(lacking)}: x are images, y labels.")
        if parts["x"].is_complex():
            raise ConfigError(f"attack.file: {self.file}: x: expected real pixels, got complex ones.")
        known = {name: parts[name] for name in _PARTS if name in parts}
        return {name: part if name == "x" else self._whole(name, part) for name, part in known.items()}

    def _whole(self, name: str, values: Tensor) -> Tensor:
        """Labels or sources in int64, of whatever type they are.

        Raises:
            ConfigError: for what is no whole number, or one too large for float64 to tell from the next.
        """
        expected = f"attack.file: {self.file}: {name}: expected whole numbers, got "
        if values.is_complex():
            raise ConfigError(f"{expected}complex ones.")
        wide = values.to(torch.float64).flatten()
        broken = (wide != wide.round()) | (wide.abs() >= 2.0**53)  # NaN differs from itself
        if broken.any():
            row = int(broken.nonzero()[0])
            raise ConfigError(f"{expected}{float(wide[row]):g} in row {row}.")
        return values.to(torch.int64)

    def _refuse_another(self, found: str) -> None:
        if found != self.sha256:
            raise ConfigError(f"attack.file: {self.file} has changed since it was chosen.")


_PARTS = ("x", "y", "source")

_KINDS = {".npz": "no whole .npz without objects", ".safetensors": "no whole .safetensors"}
"""What a file is not that cannot be read, by how its name ends."""

_NO_FILE = (
    SafetensorError, zipfile.BadZipFile, zlib.error, ValueError, OSError, EOFError, KeyError, TypeError, RuntimeError,
    ArithmeticError, AssertionError, MemoryError, SyntaxError, tokenize.TokenError,
)  # fmt: skip
"""What the two libraries raise of a file that is none of theirs, or whose header lies."""


def _npz(data: bytes) -> dict[str, Tensor]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        size = sum(member.file_size for member in archive.infolist())
    if size > LARGEST:
        raise ValueError(f"{size} bytes when unpacked, at most {LARGEST} are read")
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        names = [name for name in _PARTS if name in arrays.files]
        return {name: torch.from_numpy(np.ascontiguousarray(arrays[name])) for name in names}
