"""What the victim's recipe does to the images of a batch, for attacks that meet them as it does."""

from __future__ import annotations

import torch
from torch import Tensor

from poisonbench.attacks.pixel_sign import Transform
from poisonbench.augmentation import flipped_and_cropped
from poisonbench.problem.recipe import Recipe


def augmentation(recipe: Recipe, generator: torch.Generator) -> Transform:
    """The recipe's augmentation with draws from the generator, other ones at every call; without one, x ↦ x, which
    draws nothing. Differentiable."""

    def augmented(x: Tensor) -> Tensor:
        return x if recipe.augmentation == "none" else flipped_and_cropped(x, generator)

    return augmented


def one_augmentation(recipe: Recipe, generator: torch.Generator) -> Transform:
    """The recipe's augmentation with one draw from the generator: the same at every call, for as many images."""
    if recipe.augmentation == "none":
        return augmentation(recipe, generator)
    seed = int(torch.randint(2**63 - 1, (), generator=generator))
    return lambda x: augmentation(recipe, torch.Generator().manual_seed(seed))(x)
