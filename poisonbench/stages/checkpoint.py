"""Atomic save and resume of one stage: named loops of tensors, the random stream and the time spent."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialized

from poisonbench.errors import StoreError
from poisonbench.files.atomic import write_atomically
from poisonbench.identity.tensors import tensor_hash

_GENERATOR = "__generator__"
_log = logging.getLogger(__name__)


Point = dict[str, float | None]
"""Of a loop's trace: `step`, and what was reported in it; None for what is not finite."""


@dataclass(frozen=True)
class Saved:
    """The state of one loop as it stood: `step` steps were done in `seconds` of work, then `tensors` and `generator`
    held, and these were the points of its trace."""

    step: int
    seconds: float
    tensors: dict[str, torch.Tensor]
    generator: torch.Tensor
    points: list[Point] = field(default_factory=list)


class Checkpoint:
    """A folder with one safetensors file per named loop; `Checkpoint(None)` keeps nothing.

    A save is written under a temporary name, fsynced and renamed over the last one, so a kill at any moment leaves
    either the old file or the new one. A file that does not match the checksum in its own header is refused, and the
    loop starts again from its beginning.
    """

    def __init__(self, folder: Path | None, prefix: str = "") -> None:
        self._folder, self._prefix = folder, prefix

    def within(self, task: str) -> Checkpoint:
        """The same folder, in which the loops of a task are kept apart by its name."""
        return Checkpoint(self._folder, f"{self._prefix}{task}, ")

    @property
    def kept(self) -> bool:
        """Whether saves are kept at all."""
        return self._folder is not None

    def load(self, name: str) -> Saved | None:
        """The last save of loop `name`, on the CPU, or None."""
        if self._folder is None:
            return None
        path = self._path(self._folder, name)
        if not path.exists():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                names = file.keys()
                kept = {name: file.get_tensor(name) for name in names}
                about = file.metadata() or {}
                if about.get("sha256") != _digest(kept):
                    raise ValueError("checksum")
                # Cloned into memory that torch aligns: kernels add up the file's own, at odd offsets, in another order.
                tensors = {name: tensor.clone() for name, tensor in kept.items()}
            generator = tensors.pop(_GENERATOR)
            points = json.loads(about["points"])
            return Saved(int(about["step"]), float(about["seconds"]), tensors, generator, points)
        except (SafetensorError, ValueError, KeyError) as error:
            _log.warning("Checkpoint %s is damaged (%s); the stage starts again from its beginning.", path, error)
            path.unlink(missing_ok=True)
            return None

    def save(self, name: str, saved: Saved) -> None:
        """Replace loop `name`'s save.

        Raises:
            StoreError: if the file cannot be written, naming it.
        """
        if self._folder is None:
            return
        path = self._path(self._folder, name)
        tensors = {key: value.detach().cpu().contiguous().clone() for key, value in saved.tensors.items()}
        tensors[_GENERATOR] = saved.generator
        about = {
            "step": str(saved.step),
            "seconds": json.dumps(saved.seconds),
            "points": json.dumps(saved.points),
            "sha256": _digest(tensors),
        }
        try:
            # By bytes: safetensors' own files keep out whom the umask lets in.
            write_atomically(path, serialized(tensors, about))
        except (OSError, SafetensorError) as error:
            raise StoreError(
                f"Cannot write the checkpoint {path}: {error}. Free some space, then run again."
            ) from error

    def seconds(self) -> float:
        """The seconds of work already saved, over every loop: what an interrupted stage had cost before it was
        resumed."""
        if self._folder is None or not self._folder.is_dir():
            return 0.0
        saves = (self.load(path.stem) for path in sorted(self._folder.glob("*.safetensors")))
        return sum(saved.seconds for saved in saves if saved)

    def clear(self) -> None:
        """Forget every loop, once the stage's result is safe in the store."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, folder: Path, name: str) -> Path:
        return folder / f"{self._prefix}{name}.safetensors"


def _digest(tensors: dict[str, torch.Tensor]) -> str:
    return tensor_hash(*(tensors[name] for name in sorted(tensors)))
