"""The matrix of per-sample gradients as an operator, never written out."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Protocol

import torch
from torch import Tensor

from poisonbench.defenses.gradients.autodiff import AutodiffGradients
from poisonbench.defenses.gradients.layers import LayerGradients
from poisonbench.models.base import Model
from poisonbench.problem.samples import Samples, Weights
from poisonbench.process.allocator import return_freed_blocks

CHUNK = 256
KEPT_BYTES = 5 << 28
"""1.25 GiB: a run of Sever on MNIST's CNN stays below 3 GiB in all."""

WIDTH = 16
"""Vectors. Of 8, 16 and 32 the first takes a quarter more time on MNIST's CNN, the others as long."""


class Gradients(Protocol):
    """The gradients of some samples' losses, (n, p), to be multiplied with b vectors at once."""

    def times(self, v: Weights) -> Tensor:
        """The products ⟨∇ℓᵢ, v⟩, (b, n), for b vectors v, by parameter (b, *shape)."""

    def transposed_times(self, u: Tensor) -> Weights:
        """The sums Σᵢ uᵢ ∇ℓᵢ, by parameter (b, *shape), for u (b, n)."""


class GradientOperator:
    """The matrix G of shape (n, p), row i the gradient of sample i's loss, minus the mean row if `centred`.

    Rows of a model that traces its layers are `LayerGradients`. They are kept for the next product while they fit into
    `kept_bytes`; the rows behind are computed again each time, which takes some 60 times as long as multiplying
    with them, so many vectors then cost as much as one. Rows of other models are `AutodiffGradients`. The model is
    evaluated, not trained: batch statistics stand still.

    Args:
        model: the model.
        weights: where.
        samples: rows.
        centred: whether the mean row is subtracted.
        chunk: rows at a time.
        kept_bytes: memory for what is kept. No figure depends on it, but for rounding.
    Attributes:
        shape: (n, p).
        width: how many vectors it is best multiplied with at once.
    Cost: every method goes over the rows once; one that needs the mean row before any product with Gᵀ, which finds it
        by the way, once more.
    """

    def __init__(
        self,
        model: Model,
        weights: Weights,
        samples: Samples,
        centred: bool = True,
        chunk: int = CHUNK,
        kept_bytes: int = KEPT_BYTES,
    ) -> None:
        self._model, self._weights, self._chunk = model, weights, chunk
        self._x, self._y = samples.x.split(chunk), samples.y.split(chunk)
        self._shapes = {name: value.shape for name, value in model.parameters(weights).items()}
        self._sizes = [shape.numel() for shape in self._shapes.values()]
        self.shape = len(samples), sum(self._sizes)
        self._mean = None if centred else samples.x.new_zeros(self.shape[1])
        self._traced = LayerGradients.cover(model, weights, samples.x[:1])
        self._kept: list[LayerGradients] = []
        self._blocks = self._reserve(kept_bytes // samples.x.itemsize) if self._traced else []
        self.width = WIDTH if self._traced and len(self._blocks) < len(self._y) else 1

    @property
    def like(self) -> Tensor:
        """A tensor with the device and dtype of its vectors."""
        first: Tensor = self._x[0]
        return first

    def times(self, v: Tensor) -> Tensor:
        """The product Gv, (n,) or (b, n), for v (p,) or (b, p)."""
        if v.dim() == 1:
            return self.times(v[None])[0]
        parts, shift = self._by_name(v), v @ self._mean_row()
        return torch.cat([rows.times(parts) for rows in self._rows()], 1) - shift[:, None]

    def transposed_times(self, u: Tensor) -> Tensor:
        """The product Gᵀu, (p,) or (b, p), for u (n,) or (b, n)."""
        if u.dim() == 1:
            return self.transposed_times(u[None])[0]
        if self._mean is None:
            total = self._sum(torch.cat([u, u.new_full((1, self.shape[0]), 1 / self.shape[0])]))
            self._mean = total[-1]
            return total[:-1] - u.sum(1, keepdim=True) * self._mean
        return self._sum(u) - u.sum(1, keepdim=True) * self._mean

    def gram_times(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """The products Gv, (b, n), and GᵀGv, (b, p), for v (b, p)."""
        parts, mean = self._by_name(v), self._mean_row()
        shift, products = (v @ mean)[:, None], []
        total = torch.zeros_like(v)
        for rows in self._rows():
            products.append(rows.times(parts) - shift)
            total += self._flat(rows.transposed_times(products[-1]))
        product = torch.cat(products, 1)
        return product, total - product.sum(1, keepdim=True) * mean

    def _mean_row(self) -> Tensor:
        if self._mean is None:
            self._mean = self._sum(self.like.new_full((1, self.shape[0]), 1 / self.shape[0]))[0]
        return self._mean

    def _sum(self, u: Tensor) -> Tensor:
        """The sums Σᵢ uᵢ ∇ℓᵢ, (b, p), whether centred or not."""
        total = u.new_zeros(len(u), self.shape[1])
        for rows, part in zip(self._rows(), u.split(self._chunk, 1), strict=True):
            total += self._flat(rows.transposed_times(part))
        return total

    def _rows(self) -> Iterator[Gradients]:
        for index, (x, y) in enumerate(zip(self._x, self._y, strict=True)):
            if not self._traced:
                yield AutodiffGradients(self._model, self._weights, x, y)
            elif index < len(self._kept):
                yield self._kept[index]
            else:
                rows = LayerGradients.of(self._model, self._weights, x, y)
                if index < len(self._blocks):
                    rows = rows.placed(self._blocks[index])
                    self._kept.append(rows)
                yield rows

    def _reserve(self, room: int) -> list[Tensor]:
        """Reserve a block for each of the first chunks, `room` numbers in all. They are taken at once: between the
        temporaries of one chunk after the other, they would leave the heap in fragments, 0.6 GiB of them for MNIST's
        CNN."""
        row = LayerGradients.of(self._model, self._weights, self._x[0][:1], self._y[0][:1]).numel
        sizes = [row * len(y) for y in self._y]
        return_freed_blocks()
        return [
            self.like.new_empty(size) for size, total in zip(sizes, accumulate(sizes), strict=True) if total <= room
        ]

    def _by_name(self, v: Tensor) -> Weights:
        pieces = zip(self._shapes.items(), v.split(self._sizes, 1), strict=True)
        return {name: piece.unflatten(1, shape) for (name, shape), piece in pieces}

    def _flat(self, parts: Weights) -> Tensor:
        return torch.cat([parts[name].flatten(1) for name in self._shapes], 1)
