"""Tensors that stay in their safetensors file: the rows that are asked for are read, and no others.

They are read and not mapped: what a process has touched of a mapping, and much around it, counts as its memory for as
long as the mapping is there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from poisonbench.errors import CorruptFileError


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file that nobody writes to: it is replaced whole or not at all.

    Attributes:
        path: the file.
        start: bytes of the file before the first of the tensor's.
        shape: its shape; what has none, a single number, has no rows to read.
        dtype: its type.
    """

    path: Path
    start: int
    shape: Sequence[int]
    dtype: torch.dtype

    def __getitem__(self, rows: slice | Tensor, /) -> Tensor:
        """Those rows: a slice without a step, or row numbers, (k,), int64, in any order.

        Raises:
            CorruptFileError: if the file has become shorter, or is gone.
        Cost: one read, or one for each row number.
        """
        runs, n = self._runs(rows)
        read = torch.empty((n, *self.shape[1:]), dtype=self.dtype)
        target = read.flatten().view(torch.uint8).numpy().data
        try:
            with self.path.open("rb", buffering=0) as file:
                for offset, size in runs:
                    _fill(file, self.start + offset, target[:size])
                    target = target[size:]
        except (OSError, EOFError) as error:
            raise CorruptFileError(f"{self.path} changed while it was read: {error}.") from error
        return read

    def _runs(self, rows: slice | Tensor) -> tuple[Iterator[tuple[int, int]], int]:
        """(offset, size) of each stretch of bytes to read, and how many rows that makes."""
        row = math.prod(self.shape[1:]) * self.dtype.itemsize
        if isinstance(rows, slice):
            first, end, _ = rows.indices(self.shape[0])
            return iter([(first * row, max(0, end - first) * row)]), max(0, end - first)
        return ((number * row, row) for number in rows.tolist()), len(rows)


def stored_tensors(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a safetensors file by name; reads nothing but its header.

    Raises:
        SafetensorError, ValueError, KeyError, RuntimeError, TypeError: if it is none.
        OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
    found = {}
    with safe_open(path, framework="pt") as whole:
        for name in whole.offset_keys():  # tensors lie one after the other, without a gap, or it does not open
            tensor = whole.get_tensor(name)  # a mapping of which nothing is touched
            found[name] = StoredTensor(path, start, tuple(tensor.shape), tensor.dtype)
            start += tensor.nbytes
    return found


def _fill(file: FileIO, start: int, target: memoryview) -> None:
    file.seek(start)
    while target:
        size = file.readinto(target)
        if not size:
            raise EOFError("it ends too early")
        target = target[size:]
