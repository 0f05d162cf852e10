"""The leading singular vector of a matrix known only through its products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, svds
from torch import Tensor

from poisonbench.errors import ValidationError


class MatrixOperator(Protocol):
    """A matrix that is only ever multiplied with."""

    @property
    def shape(self) -> tuple[int, int]:
        """(n, p)."""

    @property
    def device(self) -> torch.device:
        """Where its vectors live."""

    def times(self, v: Tensor) -> Tensor:
        """Gv."""

    def transposed_times(self, u: Tensor) -> Tensor:
        """Gᵀu."""


def top_right_singular_vector(
    G: MatrixOperator, generator: torch.Generator, tol: float, tick: Callable[[], None]
) -> Tensor:
    """v with ‖v‖ = 1 that maximises ‖Gv‖, (p,), up to its sign, which no score depends on.

    ARPACK's Lanczos iteration (through SciPy) on the smaller of GGᵀ and GᵀG, started from the generator's vector.

    Args:
        G: the matrix.
        generator: for the start.
        tol: relative accuracy.
        tick: called once a product.
    Raises:
        ValidationError: if it does not converge.
    Cost: about 20 to 40 products with G and as many with Gᵀ.
    """

    def send(vector: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(vector.reshape(-1), dtype=np.float32)).to(G.device)

    def receive(vector: Tensor) -> np.ndarray:
        tick()
        return vector.cpu().numpy()

    operator = LinearOperator(
        G.shape,
        matvec=lambda v: receive(G.times(send(v))),
        rmatvec=lambda u: receive(G.transposed_times(send(u))),
        dtype=np.float32,
    )
    start = torch.randn(min(G.shape), generator=generator).numpy()
    try:
        _, _, vt = svds(operator, k=1, tol=tol, v0=start)
    except ArpackNoConvergence as error:
        raise ValidationError(f"sever: the singular vector did not converge: {error}. Raise defense.tol.") from error
    return send(vt[0])
