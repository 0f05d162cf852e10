"""Flips and crops: against one image at a time, and what they leave alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from poisonbench.augmentation import flipped_and_cropped
from poisonbench.models.lr import LogisticRegression
from poisonbench.problem.recipe import Recipe
from poisonbench.problem.samples import Samples
from poisonbench.stages.stage import Stage
from poisonbench.training import train


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("shape", [(50, 3, 32, 32), (7, 1, 8, 8), (5, 2, 9, 17), (1, 1, 1, 1)])
def test_each_image_is_moved_then_mirrored(shape: tuple[int, int, int, int]) -> None:
    """The same draws, one image at a time, by slicing and flipping."""
    n, _, height, width = shape
    x = torch.rand(shape, generator=seeded(1)) * 0.9 + 0.1
    made = flipped_and_cropped(x, seeded())
    reach, draws = max(1, min(height, width) // 8), seeded()
    offsets = torch.randint(0, 2 * reach + 1, (2, n, 1), generator=draws)
    mirrored = torch.rand(n, 1, generator=draws) < 0.5
    padded = torch.zeros(n, shape[1], height + 2 * reach, width + 2 * reach)
    padded[:, :, reach : reach + height, reach : reach + width] = x
    for i in range(n):
        down, right = int(offsets[0, i]), int(offsets[1, i])
        expected = padded[i, :, down : down + height, right : right + width]
        assert torch.equal(made[i], expected.flip(-1) if mirrored[i] else expected)


def test_every_shift_and_both_sides_come_up_evenly() -> None:
    x = torch.zeros(20_000, 1, 32, 32)
    x[:, 0, 16, 10] = 1.0  # left of the middle: its place tells the shift and the mirror
    places = flipped_and_cropped(x, seeded()).flatten(1).argmax(1)
    rows, columns = places // 32, places % 32
    left = columns < 15
    assert abs(float(left.double().mean()) - 0.5) < 0.015
    for found, low in ((rows, 12), (columns[left], 6)):
        counts = torch.bincount(found - low, minlength=9)
        assert len(counts) == 9
        assert float((counts / counts.sum() - 1 / 9).abs().max()) < 0.015


def test_weights_and_orders_are_drawn_as_without(monkeypatch: pytest.MonkeyPatch) -> None:
    model = LogisticRegression((1, 8, 8), 10, (0.3,), (0.3,))
    image = torch.rand(1, 1, 8, 8, generator=seeded(2))  # one for all rows: only the draws tell steps apart
    samples = Samples(image.repeat(230, 1, 1, 1), torch.arange(230) % 10, torch.arange(230))
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    gradient = LogisticRegression.gradient

    def watched(self: Any, weights: Any, z: torch.Tensor, y: torch.Tensor) -> Any:
        seen.append((z.clone(), y))
        return gradient(self, weights, z, y)

    monkeypatch.setattr(LogisticRegression, "gradient", watched)
    runs = {}
    for augmentation in ("none", "flips-and-crops"):
        seen.clear()
        recipe = Recipe(batch_size=50, epochs=2, augmentation=augmentation)
        weights = train(model, samples, recipe, Stage(seeded()), "train")
        again = train(model, samples, recipe, Stage(seeded()), "train")
        assert torch.equal(weights["linear.weight"], again["linear.weight"])
        runs[augmentation] = list(seen)
    plain, augmented = runs.values()
    assert all(torch.equal(a[1], b[1]) for a, b in zip(plain, augmented, strict=True))
    assert not any(torch.equal(a[0], b[0]) for a, b in zip(plain, augmented, strict=True))
    assert not torch.equal(augmented[0][0], augmented[5][0])  # another epoch, another draw


def test_without_one_a_recipe_is_as_it_was() -> None:
    assert "augmentation" not in Recipe().document()
    assert Recipe(augmentation="flips-and-crops").document()["augmentation"] == "flips-and-crops"
