"""Random augmentations of images, through torchvision's transforms v2."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from poisonbench.problem.budget import BOX

if TYPE_CHECKING:
    from torchvision.transforms import v2

Augmentation = Literal["noise", "crop", "crop-flip", "cutout", "affine"]

GROUP = 10
"""Rows that share one draw of a geometric transform: 100 draws of a batch of 1,000, for less than 15 ms."""


def augmented(x: Tensor, augmentation: Augmentation, sigma: float, generator: torch.Generator) -> Tensor:
    """One random copy of each image, of x's shape, in the box.

        noise      x + σ · N(0, I), clipped to the box
        crop       the image moved by up to an eighth of its side, zeros (black) moving in
        crop-flip  crop, then a mirror image half of the time: CIFAR's standard
        cutout     a square of a quarter of the area, anywhere inside the image, set to zero
        affine     turned by up to 10°, moved by up to a tenth of its side, scaled by 0.9 to 1.1; zeros outside

    The transforms draw one geometry for all images that they are given, so they are applied to GROUP rows at a time.
    Every image's own distribution is the transform's; which images share a draw is chance, as the rows of a batch are
    in random order.

    Args:
        x: images, (n, channels, height, width), pixels in [0, 1].
        augmentation: which.
        sigma: standard deviation σ of the noise; the others do not use it.
        generator: on the CPU, where copies are made: the same bits then reach every device.
    """
    transform = _transform(augmentation, sigma, x.shape[2], x.shape[3])
    with _drawing_from(generator):
        if augmentation == "noise":  # drawn for every pixel, and clipped by the transform
            noisy: Tensor = transform(x.cpu())
            return noisy.to(x.device)
        copies = torch.cat([transform(part) for part in x.cpu().split(GROUP)])
    return copies.clamp_(*BOX).to(x.device)  # interpolated pixels are rounded; the others are in it already


def _transform(augmentation: Augmentation, sigma: float, height: int, width: int) -> v2.Transform:
    from torchvision.transforms import v2  # here, because importing torchvision takes as long as torch

    crop = v2.RandomCrop((height, width), padding=max(1, min(height, width) // 8))
    match augmentation:
        case "noise":
            return v2.GaussianNoise(sigma=sigma)
        case "crop":
            return crop
        case "crop-flip":
            return v2.Compose([crop, v2.RandomHorizontalFlip()])
        case "cutout":
            return v2.RandomErasing(p=1, scale=(0.25, 0.25), ratio=(1, 1))
        case "affine":
            return v2.RandomAffine(10, (0.1, 0.1), (0.9, 1.1), interpolation=v2.InterpolationMode.BILINEAR)


@contextmanager
def _drawing_from(generator: torch.Generator) -> Iterator[None]:
    """Let this generator stand in for torch's global one on the CPU, the only one that the transforms can draw from.
    Its state is lent: `torch.manual_seed` would seed every GPU's generator too, for good."""
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(generator.get_state())
        yield
        generator.set_state(torch.get_rng_state())
