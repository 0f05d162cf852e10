"""Where Koh, Steinhardt & Liang let a poison point lie: what the sphere and the slab defense let through."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from poisonbench.attacks.min_max.feasible_set import spheres
from poisonbench.problem.budget import Budget
from poisonbench.problem.samples import Samples

ROUNDS = 200
"""Of Dykstra's algorithm; it ends sooner where no pixel moves by TOLERANCE."""
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Sanitized:
    """The set {x : ‖x − μ_y‖ ≤ r_y, |⟨x − μ_y, β_y⟩| ≤ s_y} within the budget's box and ball, for every class y.

    Attributes:
        centres: centroids μ_y, (C, d).
        radii: r_y, (C,); infinite where there is no sphere.
        directions: unit vectors β_y from the mean of the other centroids to μ_y, (C, d).
        widths: s_y, (C,); infinite where there is no slab.
    """

    centres: Tensor
    radii: Tensor
    directions: Tensor
    widths: Tensor

    @classmethod
    def of(cls, train: Samples, classes: int, removed: float, sphere: bool, slab: bool) -> Sanitized:
        """The set whose sphere, and whose slab, each leave the part `removed` of every class of D_tr outside."""
        centres, radii, _ = spheres(train, classes, removed)
        directions = F.normalize(centres - centres.mean(0))
        away = ((train.x.flatten(1) - centres[train.y]) * directions[train.y]).sum(1).abs()
        widths = torch.stack([away[train.y == label].quantile(1 - removed) for label in range(classes)])
        endless = torch.full_like(radii, torch.inf)
        return cls(centres, radii if sphere else endless, directions, widths if slab else endless)

    def project(self, x: Tensor, y: Tensor, source: Tensor, budget: Budget) -> Tensor:
        """The nearest images of the set with these labels, (n, …), by Dykstra's algorithm: the projections in turn,
        each with what it moved last time put back first, so that the limit is the nearest point and not just one.

        Cost: at most ROUNDS passes over the images.
        """
        centre, radius = self.centres[y], self.radii[y, None]
        direction, width = self.directions[y], self.widths[y, None]

        def in_sphere(flat: Tensor) -> Tensor:
            offset = flat - centre
            norm = torch.linalg.vector_norm(offset, dim=1, keepdim=True)
            return torch.where(norm > radius, centre + offset * (radius / norm), flat)

        def in_slab(flat: Tensor) -> Tensor:
            along = ((flat - centre) * direction).sum(1, keepdim=True)
            return flat + (along.clamp(-width, width) - along) * direction

        def in_budget(flat: Tensor) -> Tensor:
            return budget.project(flat.view_as(x), source).flatten(1)

        flat, put_back = x.flatten(1), [torch.zeros_like(x.flatten(1)) for _ in range(3)]
        for _ in range(ROUNDS):
            before = flat
            for index, nearest in enumerate((in_sphere, in_slab, in_budget)):
                start = flat + put_back[index]
                flat = nearest(start)
                put_back[index] = start - flat
            if float((flat - before).abs().max()) < TOLERANCE:
                break
        return flat.view_as(x)
