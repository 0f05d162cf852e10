"""The leading principal component of a matrix known only through its products."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from poisonbench.bilevel.leading_eigenpair import leading_eigenpair


class MatrixOperator(Protocol):
    """A matrix that is only ever multiplied with, by several vectors at once."""

    @property
    def shape(self) -> tuple[int, int]:
        """The matrix's shape, (n, p)."""

    @property
    def width(self) -> int:
        """The number of vectors that it is best multiplied with at once."""

    @property
    def like(self) -> Tensor:
        """A tensor with the device and dtype of its vectors."""

    def times(self, v: Tensor) -> Tensor:
        """The products Gv, (b, n), for v (b, p)."""

    def transposed_times(self, u: Tensor) -> Tensor:
        """The products Gᵀu, (b, p), for u (b, n)."""

    def gram_times(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """The products Gv, (b, n), and GᵀGv, (b, p), for v (b, p)."""


@dataclass(frozen=True)
class Component:
    """The leading principal component of a matrix's rows.

    Attributes:
        projections: Gv₁, (n,): the products of the rows with the top right singular vector v₁, all up to one sign.
        value: σ₁.
        second: an estimate of σ₂ from below.
        residual: ‖GᵀGv₁ − σ₁²v₁‖ / σ₁², or the same of GGᵀ and the left singular vector.
        products: with GᵀG or GGᵀ, of `width` vectors each.
    """

    projections: Tensor
    value: float
    second: float
    residual: float
    products: int


def leading_component(
    G: MatrixOperator, generator: torch.Generator, tol: float, watch: Callable[[float], None]
) -> Component:
    """The leading principal component, from Lanczos iteration on the smaller of GGᵀ and GᵀG.

    With random vectors Ω, (n, width), the one starts from Ω and the other from GᵀΩ: the same Krylov space.

    Args:
        G: the matrix.
        generator: for Ω.
        tol: the largest relative residual.
        watch: called after every product with the relative residual.
    Raises:
        ValidationError: if it does not converge.
    """
    n, p = G.shape
    like = G.like
    start = torch.randn(min(G.width, n, p), n, generator=generator).to(like)
    images: list[Tensor] = []

    def left(u: Tensor) -> Tensor:
        return G.times(G.transposed_times(u.to(like))).double()

    def right(v: Tensor) -> Tensor:
        image, product = G.gram_times(v.to(like))
        images.append(image)
        return product.double()

    if n < p:
        found = leading_eigenpair(left, start.double(), tol, watch)
        projections = found.vector * max(found.value, 0.0) ** 0.5
    else:
        found = leading_eigenpair(right, G.transposed_times(start).double(), tol, watch)
        projections = found.coordinates @ torch.cat(images).double()
    value, second = (max(square, 0.0) ** 0.5 for square in (found.value, found.second))
    return Component(projections.to(like), value, second, found.residual, found.products)
