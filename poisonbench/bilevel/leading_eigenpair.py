"""The leading eigenvector of a matrix known only through its products."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from poisonbench.errors import ValidationError

MAX_BASIS = 320
"""Vectors. The paper's models take 10 to 60."""


@dataclass(frozen=True)
class Eigenpair:
    """An eigenpair: Ax ≈ λx for the largest λ.

    Attributes:
        value: λ, the largest Ritz value.
        vector: x with ‖x‖ = 1, (d,), up to its sign.
        coordinates: of x in the blocks that A was multiplied with, laid end to end.
        second: the second Ritz value, which the second eigenvalue is not below.
        residual: ‖Ax − λx‖ / λ.
        products: of A with a block.
    """

    value: float
    vector: Tensor
    coordinates: Tensor
    second: float
    residual: float
    products: int


def leading_eigenpair(
    A: Callable[[Tensor], Tensor], start: Tensor, tol: float, watch: Callable[[float], None]
) -> Eigenpair:
    """The leading eigenpair of a symmetric positive semidefinite A, by block Lanczos iteration.

    The Rayleigh–Ritz approximation from span{S, AS, A²S, …} for a start of b vectors S; one of them is Lanczos' own
    iteration. More vectors take fewer products, if each costs as much as with one: on the gradients of MNIST's CNN,
    16, 7 and 4 for b = 1, 4 and 16. All new vectors are orthogonalised against all before them, twice, so the residual
    that the recurrence gives is the true one up to rounding, and it is looked at after every product.

    Args:
        A: vectors in rows, (b, d) ↦ (b, d).
        start: S, (b, d).
        tol: the largest relative residual.
        watch: called after every product with the relative residual.
    Raises:
        ValidationError: if MAX_BASIS vectors were not enough.
    Cost: products, and memory of b vectors each.
    Source: Golub & Van Loan, Matrix Computations, 10.3.6; Musco & Musco, NeurIPS 2015, Algorithm 2.
    """
    width, d = min(start.shape), start.shape[1]
    capacity = min(MAX_BASIS, d)
    basis = start.new_empty(capacity, d)
    projected = torch.zeros(capacity, capacity, dtype=torch.float64)
    block, size, products = _orthonormal(start), 0, 0
    while True:
        basis[size : size + len(block)] = block
        old, size, products = size, size + len(block), products + 1
        known = basis[:size]
        remainder = A(block)
        coefficients = remainder @ known.T
        projected[old:size, :size] = coefficients.double().cpu()
        remainder = remainder - coefficients @ known
        values, vectors = torch.linalg.eigh(projected[:size, :size], UPLO="L")  # nothing else is filled in
        value, ritz = float(values[-1]), vectors[:, -1].to(known)
        # Beyond a basis of the whole space there is only rounding, however small tol is.
        residual = float((ritz[old:] @ remainder).norm()) if size < d else 0.0
        relative = residual / value if value > 0 else 0.0
        watch(relative)
        if residual <= tol * value:
            second = float(values[-2]) if size > 1 else 0.0
            return Eigenpair(value, ritz @ known, ritz, second, relative, products)
        if size + min(width, d - size) > MAX_BASIS:
            raise ValidationError(
                f"Lanczos stopped after {products} products with residual {relative:.1e} > {tol:g}: many eigenvalues "
                f"lie close to the largest. Raise defense.tol."
            )
        block = _orthonormal(remainder)[: d - size]
        block = _orthonormal(block - (block @ known.T) @ known)


def _orthonormal(rows: Tensor) -> Tensor:
    """An orthonormal basis, (b, d), that spans these rows; whatever directions complete it if they are dependent."""
    columns: Tensor = torch.linalg.qr(rows.T)[0]
    return columns.T
