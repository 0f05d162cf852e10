"""Where a poison point may lie, with the maxima of linear functions there: a box, or a box and a sphere."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from poisonbench.problem.budget import BOX, Budget
from poisonbench.problem.samples import Samples

BISECTIONS = 60


Limits = tuple[Tensor, Tensor]
"""The lowest and the highest value that each pixel may have, of an image's shape or of none."""


def box_limits(like: Tensor) -> Limits:
    """The box's, which is the same for every pixel."""
    return like.new_tensor(BOX[0]), like.new_tensor(BOX[1])


def observed_limits(*sets: Samples) -> Limits:
    """The smallest and the largest value that each pixel has in any of these sets, of an image's shape."""
    x = torch.cat([samples.x for samples in sets])
    return x.amin(0), x.amax(0)


def ranges(budget: Budget, x: Tensor, limits: Limits) -> tuple[Tensor, Tensor]:
    """The lowest and highest pixels allowed about each source x, (n, …): within the limits, which fit one source's
    shape, and in the ball if there is a bound."""
    low, high = (budget.project(limit.expand_as(x), x) for limit in limits)
    return low, high


@dataclass(frozen=True)
class BoxSet:
    """The box {x : low ≤ x ≤ high}.

    Attributes:
        low: (s, 1, 1, d).
        high: (s, 1, 1, d).
    """

    low: Tensor
    high: Tensor

    @property
    def allowed(self) -> Tensor:
        """Whether the set has a point, by source and label, (s, 1)."""
        return torch.ones((len(self.low), 1), dtype=torch.bool, device=self.low.device)

    def maximum(self, c: Tensor) -> Tensor:
        """The point argmax c·x, a vertex."""
        return torch.where(c > 0, self.high, self.low)


@dataclass(frozen=True)
class SphereSet:
    """The set {x : low ≤ x ≤ high, ‖x − μ_y‖ ≤ r_y}: what Steinhardt et al.'s sphere defense lets through.

    Attributes:
        box: the box.
        centres: μ_y, (C, d).
        radii: r_y, (C,).
    """

    box: BoxSet
    centres: Tensor
    radii: Tensor

    @property
    def allowed(self) -> Tensor:
        """Whether the set has a point, by source and label, (s, C)."""
        return (self._distance(self._nearest(self.centres[:, None])) <= self.radii[:, None]).squeeze(2)

    def maximum(self, c: Tensor) -> Tensor:
        """The point argmax c·x = Π_box(μ + t c), with the largest t that stays within the sphere: the distance from μ
        never falls as t grows, so t is bisected, in float64."""
        unit = c.double() / c.double().abs().amax(-1, keepdim=True).clamp(min=torch.finfo(c.dtype).tiny)
        centre, radius = self.centres[:, None].double(), self.radii[:, None, None].double()
        inside, outside = torch.zeros_like(unit[..., :1]), torch.full_like(unit[..., :1], 1e6)
        corner = torch.where(c > 0, self.box.high, torch.where(c < 0, self.box.low, self._nearest(centre)))
        for _ in range(BISECTIONS):
            middle = (inside + outside) / 2
            fits = self._distance(self._nearest(centre + middle * unit))[..., None] <= radius
            inside, outside = torch.where(fits, middle, inside), torch.where(fits, outside, middle)
        bent = self._nearest(centre + inside * unit)
        return torch.where(self._distance(corner)[..., None] <= radius, corner.double(), bent).to(c.dtype)

    def _nearest(self, x: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(x, self.box.low.to(x.dtype)), self.box.high.to(x.dtype))

    def _distance(self, x: Tensor) -> Tensor:
        distance: Tensor = torch.linalg.vector_norm(x - self.centres[:, None].to(x.dtype), dim=-1)
        return distance


def spheres(train: Samples, classes: int, removed: float) -> tuple[Tensor, Tensor, Tensor]:
    """Class centroids μ_y, (C, d), the radii r_y that leave `removed` of each class outside, (C,), and which rows of
    the training set are inside their own, (n,)."""
    x = train.x.flatten(1)
    centres = torch.stack([x[train.y == label].mean(0) for label in range(classes)])
    distance = torch.linalg.vector_norm(x - centres[train.y], dim=1)
    radii = torch.stack([distance[train.y == label].quantile(1 - removed) for label in range(classes)])
    return centres, radii, distance <= radii[train.y]
