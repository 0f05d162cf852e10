"""Image shortcut squeezing.

Liu, Zhao & Larson, "Image Shortcut Squeezing: Countering Perturbative Availability Poisons with Compression", ICML
2023.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from io import BytesIO
from typing import ClassVar, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import posterize, rgb_to_grayscale

from poisonbench.defenses.base import TrainingDefense
from poisonbench.errors import ConfigError
from poisonbench.plugins.registry import register
from poisonbench.problem.field_checks import check_integers
from poisonbench.problem.procedure import Batch, Procedure, State
from poisonbench.problem.samples import Weights
from poisonbench.problem.views import DefenderView, Train
from poisonbench.stages.stage import Stage

Squeeze = Literal["jpeg", "gray", "depth"]


@register("squeezing")
@dataclass(frozen=True)
class Squeezing(TrainingDefense):
    """Train on images that a simple compression has taken small perturbations from.

        jpeg    compressed to JPEG of a quality and back
        gray    the luminance in all channels; for colour images
        depth   reduced to a few bits a channel

    Pixels are rounded to 8 bits first, as files have them. As in the authors' code, only what is trained on is
    squeezed, unless `tested` is set. Theirs squeezes before a recipe augments; here, where it does, every step squeezes
    the augmented images.

    Fields:
        squeeze: which; the paper's best single one against bounded perturbations is jpeg.
        quality: of jpeg, 1 to 100; the paper's 10.
        bits: of depth, 1 to 8; the paper's 2.
        tested: whether test images are squeezed too.
    """

    version: ClassVar[int] = 1
    paper = "liu2023image"
    cost = "one training run, and every image through the codec once"

    squeeze: Squeeze = "jpeg"
    quality: int = 10
    bits: int = 2
    tested: bool = False

    def __post_init__(self) -> None:
        check_integers(self, quality=(1, 100), bits=(1, 8))

    def procedure(self, view: DefenderView, train: Train, stage: Stage) -> Procedure:
        """See TrainingDefense."""
        x = view.train.x
        if self.squeeze == "gray" and x.shape[1] != 3:
            raise ConfigError("defense.squeeze=gray is for images of three channels; take jpeg or depth.")
        return _Squeezed(self, self.squeezed(x) if view.recipe.augmentation == "none" else None)

    def transform(self, x: Tensor) -> Tensor:
        """See Defense."""
        return self.squeezed(x) if self.tested else x

    def squeezed(self, x: Tensor) -> Tensor:
        """The images (n, channels, height, width), in [0, 1], of 8 bits a channel, squeezed."""
        files = (x * 255).round().to(torch.uint8)
        match self.squeeze:
            case "gray":
                files = rgb_to_grayscale(files, num_output_channels=3)
            case "depth":
                files = posterize(files, self.bits)
            case "jpeg":
                files = torch.stack([_through_jpeg(file, self.quality) for file in files.cpu()])
        return files.to(x.device, x.dtype) / 255


def _through_jpeg(file: Tensor, quality: int) -> Tensor:
    """An image of 8 bits, (1 or 3, height, width), as a JPEG file has it."""
    pixels = file.permute(1, 2, 0).squeeze(2).numpy()
    with BytesIO() as written:
        Image.fromarray(pixels).save(written, "JPEG", quality=quality)
        read = torch.from_numpy(np.array(Image.open(written)))
    return read.reshape(*file.shape[1:], -1).permute(2, 0, 1)


class _Squeezed(Procedure):
    """Steps on squeezed images: those made before, by row, or made of the batch's."""

    def __init__(self, defense: Squeezing, ready: Tensor | None) -> None:
        self._defense, self._ready = defense, ready

    def batch(self, weights: Weights, batch: Batch, state: State, generator: torch.Generator) -> Batch:
        """See Procedure."""
        x = self._defense.squeezed(batch.x) if self._ready is None else self._ready[batch.rows]
        return replace(batch, x=x)
