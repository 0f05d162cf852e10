"""The augmentation that victims of CIFAR-10 are trained with: mirror images and small shifts."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def flipped_and_cropped(x: Tensor, generator: torch.Generator) -> Tensor:
    """The images, each moved by up to an eighth of its side with black moving in, then mirrored half of the time.

    Every image has a draw of its own; torchvision's RandomCrop and RandomHorizontalFlip share theirs among all images
    that they are given, which is right for a loader of single images only.

    Args:
        x: (n, channels, height, width), pixels in [0, 1].
        generator: on the CPU, so that every device sees the same images.
    Returns:
        The same shape, on x's device.
    Cost: one copy of the padded batch and one gather.
    """
    n, channels, height, width = x.shape
    reach = max(1, min(height, width) // 8)
    down, right = torch.randint(0, 2 * reach + 1, (2, n, 1), generator=generator).to(x.device)
    mirrored = (torch.rand(n, 1, generator=generator) < 0.5).to(x.device)
    rows = down + torch.arange(height, device=x.device)
    columns = torch.arange(width, device=x.device).expand(n, -1)
    columns = right + torch.where(mirrored, width - 1 - columns, columns)
    padded = F.pad(x, (reach, reach, reach, reach))
    image, channel = torch.arange(n, device=x.device), torch.arange(channels, device=x.device)
    return padded[
        image[:, None, None, None], channel[None, :, None, None], rows[:, None, :, None], columns[:, None, None]
    ]
