"""The batches of TGDA's outer steps: rows of D_tr, of D_p and of D_v."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from poisonbench.attacks.augmented import augmentation, one_augmentation
from poisonbench.attacks.pixel_sign import Transform
from poisonbench.problem.samples import Samples
from poisonbench.problem.views import AttackerView


@dataclass(frozen=True)
class Batch:
    """The rows of one outer step.

    Attributes:
        z: normalised rows of D_tr ∪ D_p, (n, …); those of D_p last, written anew whenever the leader moves.
        y: their labels.
        inputs: what the leader makes D_p's rows of.
        start: D_p's images among them before the leader has changed them.
        held_out_z: normalised rows of D_v.
        held_out_y: their labels.
        augment: what the step does to D_p's images before F meets them; one draw, the same at every call.
    """

    z: Tensor
    y: Tensor
    inputs: Tensor
    start: Tensor
    held_out_z: Tensor
    held_out_y: Tensor
    augment: Transform = lambda x: x

    @property
    def poison_z(self) -> Tensor:
        """The rows of D_p, a view."""
        return self.z[len(self.z) - len(self.start) :]

    @property
    def poison_y(self) -> Tensor:
        """Their labels, a view."""
        return self.y[len(self.y) - len(self.start) :]

    def write(self, made: Tensor) -> None:
        """Put the leader's images, normalised, in the rows of D_p."""
        self.poison_z.copy_(made)


@dataclass(frozen=True)
class Batches:
    """The data of one game, cut into batches.

    Attributes:
        view: D_tr, D_v and the model.
        start: D_p before the leader has changed it.
        inputs: what the leader makes it of.
        size: rows of D_tr, and of D_v, a batch.
        replaced: whether D_p takes the place of its sources, which are then D_tr's first rows; a batch of D_tr then
            holds both. Else D_p is added, its rows shared out evenly.
        dealt: whether the added rows of D_p are dealt out anew over every epoch's batches; else every batch holds the
            first of them.
        z: D_tr, normalised.
        held_out_z: D_v, normalised.
    """

    view: AttackerView
    start: Samples
    inputs: Tensor
    size: int
    replaced: bool
    dealt: bool
    z: Tensor
    held_out_z: Tensor

    @classmethod
    def of(
        cls, view: AttackerView, start: Samples, inputs: Tensor, size: int, replaced: bool, dealt: bool = True
    ) -> Batches:
        """Prepare batches: normalise once; a batch is at most all of D_tr."""
        z, held_out_z = view.model.normalise(view.train.x), view.model.normalise(view.validation.x)
        return cls(view, start, inputs, min(size, len(view.train)), replaced, dealt, z, held_out_z)

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return math.ceil(len(self.view.train) / self.size)

    @property
    def rows(self) -> dict[str, int]:
        """The number of rows that each of the three orders has, by its name in a loop's state."""
        view = self.view
        return {
            "order/train": len(view.train),
            "order/validation": len(view.validation),
            "order/poison": len(self.start),
        }

    def at(self, orders: Mapping[str, Tensor], index: int, generator: torch.Generator) -> Batch:
        """The index-th batch of an epoch with those orders of rows, augmented as the recipe does, if it does, with
        draws from the generator."""
        view, device = self.view, self.z.device
        share = max(1, round(len(self.start) * self.size / len(view.train)))
        clean = _cyclic(orders["order/train"], index, self.size).to(device)
        held_out = _cyclic(orders["order/validation"], index, self.size).to(device)
        poison = _cyclic(orders["order/poison"], index, share).to(device)
        if not (self.dealt or self.replaced):
            poison = torch.arange(min(share, len(self.start)), device=device)
        if self.replaced:
            among = clean < len(self.start)
            clean, poison = clean[~among], clean[among] if bool(among.any()) else poison[:1]
        rows = self.z.new_empty(len(clean) + len(poison), *self.z.shape[1:])
        if view.recipe.augmentation == "none":
            torch.index_select(self.z, 0, clean, out=rows[: len(clean)])
        else:
            rows[: len(clean)] = view.model.normalise(augmentation(view.recipe, generator)(view.train.x[clean]))
        y = torch.cat([view.train.y[clean], self.start.y[poison]])
        held_out_z = self.held_out_z.index_select(0, held_out)
        return Batch(
            rows,
            y,
            self.inputs[poison],
            self.start.x[poison],
            held_out_z,
            view.validation.y[held_out],
            one_augmentation(view.recipe, generator),
        )


def _cyclic(order: Tensor, index: int, size: int) -> Tensor:
    """The index-th batch of an order of rows that is gone round as often as needed: every batch is full."""
    return order[torch.arange(index * size, (index + 1) * size, device=order.device) % len(order)]
