"""All right singular vectors of a matrix with many rows and few columns."""

from __future__ import annotations

import torch
from torch import Tensor


def right_singular_vectors(x: Tensor, chunk: int = 1024) -> tuple[Tensor, Tensor]:
    """The squared singular values σ², (d,), falling, and the right singular vectors of X as columns, (d, d), in
    float64.

    They are the eigenvectors of XᵀX, which is summed in float64 a chunk of rows at a time: nothing of size n × n or
    n × d is made, and squaring the condition number loses nothing that float32 data could show. The null space comes
    last.

    Args:
        x: the matrix, (n, d), centred by the caller or not.
        chunk: rows a chunk.
    Cost: 2 n d² + 9 d³ operations, memory of three d × d matrices.
    """
    gram = x.new_zeros((x.shape[1], x.shape[1]), dtype=torch.float64)
    for part in x.split(chunk):
        wide = part.double()
        gram.addmm_(wide.T, wide)
    values, vectors = torch.linalg.eigh(gram)
    return values.clamp(min=0).flip(0), vectors.flip(1)
