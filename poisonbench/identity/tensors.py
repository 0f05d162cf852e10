"""The content of tensors as a hash: part of the key of every cached stage."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def tensor_hash(*tensors: Tensor) -> str:
    """SHA-256 over types, shapes and bytes, in order."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tensor.dtype}:{tuple(tensor.shape)};".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
